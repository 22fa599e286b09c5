"""Bytes to text and back. Every size inside the package is a whole number of bytes."""

import math
import re

BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LARGEST_FIRST = tuple(sorted(BINARY.items(), key=lambda pair: -pair[1]))
_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$")


def format_bytes(nbytes: int) -> str:
    """Return `nbytes` with a binary unit and at least three significant digits, e.g. `13.4 MiB`; exact below 1 KiB."""
    sign, size = ("-", -nbytes) if nbytes < 0 else ("", nbytes)
    if size < 2**10:
        return f"{sign}{size} B"
    unit, factor = next((u, f) for u, f in _LARGEST_FIRST if f <= size)
    value = size / factor
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{sign}{value:.{digits}f} {unit}"


def format_signed_bytes(nbytes: int) -> str:
    """Return `format_bytes` with an explicit plus sign: for differences and headroom."""
    return ("+" if nbytes > 0 else "") + format_bytes(nbytes)


def parse_binary_size(value: object) -> int:
    """Return the bytes of a RAM size: a whole number of bytes, or a number with `KiB`, `MiB` or `GiB`.

    Raises ValueError with the remedy in its text; decimal units are refused, because "4 GB" of RAM means 4 GiB on
    one data sheet and 4,000,000,000 bytes on another.
    """
    return _parse(value, BINARY)


def parse_storage_size(value: object) -> int:
    """Return the bytes of a storage size, where decimal units (`32 GB` = 32 * 10**9) are the convention of vendors."""
    return _parse(value, DECIMAL | BINARY)


def _parse(value: object, units: dict[str, int]) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a size; write a whole number of bytes or, for example, '512 MiB'")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value!r} is not a whole number of bytes; write, for example, '512 MiB'")
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"{value!r} is negative; a size cannot be")
        return _within_memory(value, int(value))
    match = _SIZE.match(value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write, for example, '512 MiB' or a whole number of bytes")
    number, unit = match.groups()
    if unit not in units and unit != "":
        if unit in DECIMAL:
            binary = unit[0].upper() + "iB"
            raise ValueError(
                f"{value!r} is ambiguous for RAM; write '{number} {binary}' if it means "
                f"{number} x {BINARY[binary]:,} bytes, or the plain number of bytes"
            )
        raise ValueError(f"{value!r} has an unknown unit {unit!r}; use one of {', '.join(units)}, or plain bytes")
    if len(number) > 40:
        raise ValueError(f"{value[:40]!r}... is larger than any memory, or finer than a byte")
    factor = units.get(unit, 1)
    return _within_memory(value, round(float(number) * factor) if "." in number else int(number) * factor)


def _within_memory(value: object, nbytes: int) -> int:
    if nbytes >= 2**63:
        raise ValueError(f"{value!r} is larger than any memory")
    return nbytes


def parse_percent(value: object) -> float:
    """Return the percentage of `'20%'`, `20` or `12.5`; raises ValueError outside 0 to 100."""
    text = str(value).strip().removesuffix("%").strip()
    try:
        percent = math.nan if isinstance(value, bool) else float(text)
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise ValueError(f"{value!r} is not a percentage between 0 and 100; write, for example, '20%'")
    return percent
