"""Input shapes: what is read, and what is refused with a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.errors import UsageError
from edgebudget.inputs import InputSpec, parse_input


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("1x3x224x224", (1, 3, 224, 224), None),
        ("1x128:int64", (1, 128), "int64"),
        (" 7 ", (7,), None),
        ("1X2:bool", (1, 2), "bool"),
    ],
)
def test_reads(text: str, shape: tuple[int, ...], dtype: str | None) -> None:
    assert parse_input(text) == InputSpec(shape, dtype)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x0x224", "dimension 2 is 0"),
        ("0", "dimension 1 is 0"),
        ("1xax3", "not a shape"),
        ("", "not a shape"),
        ("1x", "not a shape"),
        ("-1x3", "not a shape"),
        ("1.5x3", "not a shape"),
        ("1,3,224", "not a shape"),
        ("٣x٣", "not a shape"),
        ("1e9", "not a shape"),
        ("1x2:float33", "unknown dtype 'float33'"),
        ("1x2:", "unknown dtype ''"),
        ("99999999x99999999", "more than any device holds"),
        ("9" * 19, "not a shape"),
        ("x" * 5000, "not a shape"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_input(text)
    assert message in refused.value.message
    assert refused.value.hint
    assert len(str(refused.value)) < 400


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=5), st.sampled_from([None, "float32", "int64", "float8_e4m3fn"])
)
def test_text_round_trips(shape: list[int], dtype: str | None) -> None:
    spec = InputSpec(tuple(shape), dtype)
    assert parse_input(str(spec)) == spec


def test_a_scalar_has_a_name() -> None:
    assert str(InputSpec(())) == "scalar"
