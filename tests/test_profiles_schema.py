"""Every rule of a profile: a YAML that breaks it, and the sentence that says so."""

from pathlib import Path

import pytest

from edgebudget.errors import ProfileError
from edgebudget.profiles import load_profile
from edgebudget.profiles.schema import schema_problems, schema_text
from tests.profile_texts import UNREADABLE, VALID, write

# (what to replace, by what, where the message says it is, words of the message)
BROKEN = {
    "unknown key": ("storage:", "storge:", "storge", "did you mean storage or"),
    "unknown key below": ("  ram:", "  rom: 3\n  ram:", "memory.rom", "did you mean ram?"),
    "unknown key far from all": ("  ram:", "  qqqq: 3\n  ram:", "memory.qqqq", "use one of idle_available"),
    "unknown key in a source": ("title:", "title: x, page:", "sources[0].page", "unknown key"),
    "GB of RAM": ("4 GiB", "4 GB", "memory.ram", "ambiguous for RAM; write '4 GiB'"),
    "bananas": ("4 GiB", "4 bananas", "memory.ram", "unknown unit 'bananas'"),
    "negative text": ("4 GiB", "-4 GiB", "memory.ram", "is not a size"),
    "negative number": ("4 GiB", "-4", "memory.ram", "is negative"),
    "NaN": ("4 GiB", ".nan", "memory.ram", "not a whole number of bytes"),
    "infinity": ("4 GiB", ".inf", "memory.ram", "not a whole number of bytes"),
    "fraction of a byte": ("4 GiB", "4.5", "memory.ram", "not a whole number of bytes"),
    "too many bytes": ("4 GiB", "99999999999999999999999", "memory.ram", "larger than any memory"),
    "far too many bytes": ("4 GiB", "1e300", "memory.ram", "larger than any memory"),
    "many terabytes": ("4 GiB", "99999999999999 TiB", "memory.ram", "larger than any memory"),
    "a list as a size": ("4 GiB", "[4]", "memory.ram", "is not a size"),
    "no size": ("4 GiB", "", "memory.ram", "is not a size"),
    "true as a size": ("4 GiB", "true", "memory.ram", "is not a size"),
    "bananas of storage": ("32 GB", "32 bananas", "storage.capacity", "unknown unit 'bananas'"),
    "margin above 100": ("20%", "120%", "memory.safety_margin", "not a percentage between 0 and 100"),
    "margin is text": ("20%", "some", "memory.safety_margin", "not a percentage between 0 and 100"),
    "margin is NaN": ("20%", ".nan", "memory.safety_margin", "not a percentage between 0 and 100"),
    "unknown class": ("class: sbc", "class: fone", "class", "did you mean phone?"),
    "unknown instruction set": ("armv8-a,", "armv8a,", "cpu.isa", "did you mean armv8-a"),
    "odd pointers": ("pointer_bits: 64", "pointer_bits: 48", "cpu.pointer_bits", "did you mean 64?"),
    "cores is text": ("[cortex-a72]", "cortex-a72", "cpu.cores", "is not a list"),
    "a core twice": ("[cortex-a72]", "[cortex-a72, cortex-a72]", "cpu.cores", "lists the same thing twice"),
    "upper-case core": ("[cortex-a72]", "[Cortex A72]", "cpu.cores[0]", "is not a name"),
    "memory is a number": ("storage: {capacity: 32 GB}", "storage: 32", "storage", "is not a mapping"),
    "display_name is a number": ("display_name: Board", "display_name: 3", "display_name", "3 is not text"),
    "display_name is empty": ("display_name: Board", "display_name: ''", "display_name", "is empty"),
    "display_name is endless": ("display_name: Board", f"display_name: {'x' * 500}", "display_name", "shorten it"),
    "abstract is text": ("class: sbc", "class: sbc\nabstract: maybe", "abstract", "is not true or false"),
    "another version": ("schema_version: 1", "schema_version: 2", "schema_version", "use one of 1"),
    "name is not the file's": ("name: board", "name: bord", "name", "write 'name: board'"),
    "name is a path": ("name: board", "name: ../board", "name", "is not a name"),
    "unknown runtime": (
        "executorch-xnnpack",
        "executorch-xnpack",
        "default_runtime",
        "did you mean executorch-xnnpack",
    ),
    "unknown runtime listed": (
        "default_runtime",
        "runtimes: {tensorrt: {}}\ndefault_runtime",
        "runtimes.tensorrt",
        "unknown runtime 'tensorrt'",
    ),
    "accelerator without a name": (
        "default_runtime",
        "accelerators: [{dtypes: [int8]}]\ndefault_runtime",
        "accelerators[0].name",
        "missing; write, for example, 'name:",
    ),
    "accelerator's memory in MB": (
        "default_runtime",
        "accelerators: [{name: a, memories: [{name: b, size: 8 MB, holds: weights}]}]\ndefault_runtime",
        "accelerators[0].memories[0].size",
        "write '8 MiB'",
    ),
    "accelerator's memory for what": (
        "default_runtime",
        "accelerators: [{name: a, memories: [{name: b, size: 8 MiB}]}]\ndefault_runtime",
        "accelerators[0].memories[0].holds",
        "missing; write, for example, 'holds: weights'",
    ),
    "overhead in MB": (
        "default_runtime",
        "runtimes: {pytorch: {overhead: 8 MB}}\ndefault_runtime",
        "runtimes.pytorch.overhead",
        "write '8 MiB'",
    ),
    "unknown dtype": (
        "default_runtime",
        "dtypes: {fp16: native}\ndefault_runtime",
        "dtypes.fp16",
        "did you mean float16",
    ),
    "unknown support": (
        "default_runtime",
        "dtypes: {float16: nativ}\ndefault_runtime",
        "dtypes.float16",
        "did you mean native?",
    ),
    "confidence": ("verified", "certain", "sources[0].confidence", "use one of verified, likely, estimated"),
    "no such day": ("2026-11-21", "2026-02-30", "sources[0].read_on", "is not a date"),
    "a day by name": ("2026-11-21", "yesterday", "sources[0].read_on", "is not a date"),
    "source without a title": ("title: data sheet, ", "", "sources[0].title", "missing"),
    "region without a size": ("  ram:", "  regions: [{name: a}]\n  ram:", "memory.regions[0].size", "missing"),
    "extends is a list": ("class: sbc", "class: sbc\nextends: [a]", "extends", "is not text"),
    "no RAM": ("  ram: 4 GiB\n", "", "memory.ram", "missing; write, for example, 'ram: 4 GiB'"),
    "no budget": ("  idle_available: 3 GiB\n", "", "memory.idle_available", "process_limit as well"),
    "no margin": ("  safety_margin: 20%\n", "", "memory.safety_margin", "missing"),
    "no name": ("name: board\n", "", "name", "missing"),
    "no version": ("schema_version: 1\n", "", "schema_version", "missing"),
    "no class": ("class: sbc\n", "", "class", "missing"),
    "no display name": ("display_name: Board\n", "", "display_name", "missing"),
    "no cpu": ("cpu: {isa: armv8-a, cores: [cortex-a72], pointer_bits: 64}\n", "", "cpu", "missing"),
    "no pointer bits": (", pointer_bits: 64", "", "cpu.pointer_bits", "missing"),
    "no runtime": ("default_runtime: executorch-xnnpack\n", "", "default_runtime", "missing"),
}


def test_the_profile_that_the_cases_break_is_valid(tmp_path: Path) -> None:
    assert load_profile(write(tmp_path, VALID)).memory.ram_bytes == 4 * 2**30


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rule_is_one_sentence_with_file_field_and_remedy(case: str, tmp_path: Path) -> None:
    old, new, field, words = BROKEN[case]
    assert VALID.count(old) >= 1
    path = write(tmp_path, VALID.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert caught.value.message.startswith(f"{path}: {field}: ")
    assert words in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_text_is_one_sentence_with_line_and_column(case: str, tmp_path: Path) -> None:
    text, place, words = UNREADABLE[case]
    path = write(tmp_path, text)
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert caught.value.message.startswith(f"{path}:{place}: ")
    assert words in caught.value.message
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_bytes(b"name: board\ndisplay_name: caf\xe9\n")
    with pytest.raises(ProfileError, match=r"board\.yaml:2:1: not UTF-8 text"):
        load_profile(str(path))


def test_the_other_problems_are_counted_in_the_hint(tmp_path: Path) -> None:
    path = write(tmp_path, VALID.replace("4 GiB", "4 GB").replace("class: sbc", "class: fone"))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert caught.value.message.startswith(f"{path}: class: ")
    assert caught.value.hint == f"1 more: edgebudget devices lint {path}"


def test_what_is_wrong_comes_before_what_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "schema_version: 1\nname: board\nclass: sbc\nmemory: {ram: 4 GB}\n")
    with pytest.raises(ProfileError, match=r"memory\.ram: '4 GB' is ambiguous"):
        load_profile(path)


def test_schema_is_a_valid_json_schema_and_closed_at_every_level() -> None:
    import json

    from jsonschema import Draft202012Validator

    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)

    def objects(node: object) -> list[dict[str, object]]:
        found = [node] if isinstance(node, dict) and node.get("type") == "object" else []
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return found + [item for child in children for item in objects(child)]

    assert len(objects(schema)) >= 8
    assert all("additionalProperties" in node for node in objects(schema))


def test_a_field_has_one_problem() -> None:
    problems = schema_problems({"schema_version": 1, "name": "x", "abstract": True, "memory": {"ram": [1]}})
    assert [problem.field for problem in problems] == [("memory", "ram")]
