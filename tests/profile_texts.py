"""Profiles that tests write, right and wrong."""

from pathlib import Path

VALID = """\
schema_version: 1
name: board
display_name: Board
class: sbc
memory:
  ram: 4 GiB
  idle_available: 3 GiB
  safety_margin: 20%
storage: {capacity: 32 GB}
cpu: {isa: armv8-a, cores: [cortex-a72], pointer_bits: 64}
default_runtime: executorch-xnnpack
sources:
  - {field: memory.ram, title: data sheet, read_on: 2026-11-21, confidence: verified}
"""

# The same with a source for each figure, so that lint has nothing against it.
SOURCED = VALID + "".join(
    f"  - {{field: {field}, title: data sheet, read_on: 2026-11-21, confidence: verified}}\n"
    for field in ("memory.idle_available", "storage.capacity")
)

# What is not YAML, or not YAML as a profile uses it: the place is line and column.
UNREADABLE = {
    "open list": ("name: [1\n", "2:1", "not valid YAML"),
    "tab": ("name:\n\t- 1\n", "2:1", "not valid YAML"),
    "alias": ("a: &x 1\nb: *x\n", "1:4", "anchors and aliases are not allowed"),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\n", "1:4", "anchors and aliases are not allowed"),
    "alias alone": ("a: *x\n", "1:4", "anchors and aliases are not allowed"),
    "tag": ("a: !!python/object/apply:os.system [ls]\n", "1:4", "is not allowed; write a plain value"),
    "key twice": ("name: a\nclass: sbc\nname: b\n", "3:1", "the key 'name' is given twice"),
    "key twice below": ("memory: {ram: 1, ram: 2}\n", "1:18", "the key 'ram' is given twice"),
    "two documents": ("a: 1\n---\nb: 2\n", "2:1", "a second document starts here"),
    "a list": ("- 1\n", "1:1", "a profile is a mapping"),
    "nothing": ("", "1:1", "a profile is a mapping"),
    "text": ("hello\n", "1:1", "a profile is a mapping"),
    "a list as a key": ("[a, b]: 1\n", "1:1", "a key must be plain text"),
    "deep": ("a: " + "[" * 200 + "]" * 200, "1:19", "nested deeper than 16"),
    "control character": ("a: \0\n", "1:1", "not readable as YAML text"),
    "long": ("a: 1\n" * 20_000, "1:1", "longer than 64 KiB"),
}


def write(folder: Path, text: str, stem: str = "board") -> str:
    path = folder / f"{stem}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
