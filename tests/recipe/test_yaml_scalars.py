"""residency.recipe.yaml_scalars"""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from residency.recipe.yaml_scalars import resolve, resolve_as_llamafactory

CORE = [
    ("1e-6", 1e-6), ("1e6", 1e6), ("1.0e-6", 1e-6), (".5", 0.5), ("5.", 5.0), ("-1E+3", -1000.0),
    ("0o17", 15), ("0x1F", 31), ("010", 10), ("+7", 7), ("-0", 0),
    ("true", True), ("True", True), ("TRUE", True), ("false", False),
    ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None),
    (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf),
    ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("nULL", "nULL"),
    ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("0b11", "0b11"),
    ("0x", "0x"), ("1e", "1e"), ("e5", "e5"), (".", "."), ("-", "-"), ("+", "+"), ("1.2.3", "1.2.3"),
    ("inf", "inf"), ("nan", "nan"), ("٣", "٣"), ("0o8", "0o8"), ("=", "="), ("<<", "<<"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CORE)
def test_core_schema(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(resolve(".nan"))  # type: ignore[arg-type]


def test_an_endless_integer_is_text() -> None:
    assert resolve("9" * 5000) == "9" * 5000


@given(st.text(max_size=12))
def test_any_text_has_a_value(text: str) -> None:
    assert isinstance(resolve(text), str | int | float | bool | None)
    assert isinstance(resolve_as_llamafactory(text), str | int | float | bool | None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_what_python_writes_is_read_back(number: float, whole: int) -> None:
    assert resolve(repr(number)) == number
    assert resolve(str(whole)) == whole


LLAMAFACTORY = [
    "yes", "on", "No", "OFF", "true", "1e-5", "1e5", "1.0e-5", "1_000", "010", "0b101", "0x1f", "1:30",
    "1:30.5", "190:20:30", "~", "null", "", ".inf", "-.inf", "0", "-7", "+12", "1.", ".5", "3.14", "y",
    "2024-01-01", "0o17", "1e", "_1", "1_0.5", "text", "08", "-1:30", "+.5",
]  # fmt: skip


@pytest.mark.parametrize("text", LLAMAFACTORY)
def test_llamafactory_reads_the_same(text: str) -> None:
    from omegaconf._utils import get_yaml_loader

    loader = get_yaml_loader()
    try:
        expected = yaml.load(f"a: {text}\n", Loader=loader)["a"]
    except ValueError:
        pytest.skip("its own reader fails")
    found = resolve_as_llamafactory(text)
    assert found == expected
    assert type(found) is type(expected)


@given(st.from_regex(re.compile(r"[-+]?[0-9_.:eExXbo]{1,8}"), fullmatch=True))
def test_llamafactory_reads_the_same_numbers(text: str) -> None:
    from omegaconf._utils import get_yaml_loader

    try:
        expected = yaml.load(f"a: [{text}]\n", Loader=get_yaml_loader())["a"][0]
    except (ValueError, yaml.YAMLError, IndexError):
        return
    if isinstance(expected, dict):
        return
    assert resolve_as_llamafactory(text) == expected
