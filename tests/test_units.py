"""Sizes to text and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.units import (
    BINARY,
    DECIMAL,
    format_bytes,
    format_signed_bytes,
    parse_binary_size,
    parse_percent,
    parse_storage_size,
)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10 * 1024, "10.0 KiB"),
        (100 * 1024, "100 KiB"),
        (2**20, "1.00 MiB"),
        (2**30, "1.00 GiB"),
        (3 * 2**40, "3.00 TiB"),
        (-1536, "-1.50 KiB"),
        (8_469_348, "8.08 MiB"),
    ],
)
def test_format(nbytes: int, text: str) -> None:
    assert format_bytes(nbytes) == text


def test_format_with_sign() -> None:
    assert [format_signed_bytes(n) for n in (5, 0, -5)] == ["+5 B", "0 B", "-5 B"]


@given(st.integers(-(2**50), 2**50))
def test_formatted_text_is_near_the_size(nbytes: int) -> None:
    number, unit = format_bytes(nbytes).split()
    back = float(number) * BINARY[unit]
    assert back == nbytes if abs(nbytes) < 1024 else math.isclose(back, nbytes, rel_tol=0.006)


@given(st.integers(0, 2**20), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]), st.sampled_from(["", " ", "  "]))
def test_whole_sizes_come_back_exactly(number: int, unit: str, space: str) -> None:
    assert parse_binary_size(f"{number}{space}{unit}") == number * BINARY[unit]
    assert parse_storage_size(f" {number}{space}{unit} ") == number * BINARY[unit]


@given(st.integers(0, 2**63 - 1))
def test_plain_bytes_come_back_exactly(number: int) -> None:
    assert parse_binary_size(number) == parse_binary_size(str(number)) == number


@pytest.mark.parametrize(
    ("text", "nbytes"), [("0.5 GiB", 2**29), ("1.5 KiB", 1536), (4.0, 4), ("3.7 B", 4), ("9007199254740993", 2**53 + 1)]
)
def test_parse(text: object, nbytes: int) -> None:
    assert parse_binary_size(text) == nbytes


@pytest.mark.parametrize("unit", ["kB", "KB", "MB", "GB", "TB"])
def test_decimal_units_are_for_storage(unit: str) -> None:
    assert parse_storage_size(f"32 {unit}") == 32 * DECIMAL[unit]
    with pytest.raises(ValueError, match=rf"ambiguous for RAM; write '32 {unit[0].upper()}iB' if it means 32 x "):
        parse_binary_size(f"32 {unit}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("4 bananas", "unknown unit 'bananas'"),
        ("-4 MiB", "not a size"),
        (-4, "is negative"),
        (-4.0, "is negative"),
        (4.5, "not a whole number"),
        (math.nan, "not a whole number"),
        (math.inf, "not a whole number"),
        ("nan", "not a size"),
        ("", "not a size"),
        ("MiB", "not a size"),
        ("1e3", "not a size"),
        ("1 2 MiB", "not a size"),
        (True, "not a size"),
        (None, "not a size"),
        ([4], "not a size"),
        ("9" * 30, "larger than any memory"),
        ("9" * 400 + " GiB", "larger than any memory"),
        ("9999999999 TiB", "larger than any memory"),
        (2**63, "larger than any memory"),
        (1e30, "larger than any memory"),
    ],
)
def test_what_is_no_size(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_binary_size(value)


@pytest.mark.parametrize(("value", "percent"), [("20%", 20.0), (" 12.5 % ", 12.5), (0, 0.0), (100, 100.0), ("7", 7.0)])
def test_percent(value: object, percent: float) -> None:
    assert parse_percent(value) == percent


@pytest.mark.parametrize("value", ["101%", -1, "nan", "inf", "ten", "", None, True])
def test_what_is_no_percent(value: object) -> None:
    with pytest.raises(ValueError, match="not a percentage between 0 and 100"):
        parse_percent(value)
