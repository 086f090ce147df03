from __future__ import annotations

import contextlib
import math
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.tools.calculator import LONGEST, calculate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 + 3 * 4", "14"),
        ("(118 - 95) / 118 * 100", "19.4915254237"),
        ("8 / 2", "4"),
        ("0.1 + 0.2", "0.3"),
        ("7 // 2", "3"),
        ("-7 % 3", "2"),
        ("2 ** 10", "1024"),
        ("2 * 3 ^ 2", "18"),  # as a calculator reads it, not as Python does
        ("2 ** -1", "0.5"),
        ("−3 × 4 ÷ 2", "-6"),
        ("sqrt(2)", "1.41421356237"),
        ("log(100, 10)", "2"),
        ("ln(e)", "1"),
        ("round(2.567, 1)", "2.6"),
        ("max(1, 2, 3) - min(4, 5)", "-1"),
        ("1e3 * 2", "2000"),
        ("12 =", "12"),
        ("1e300", "1e+300"),
        ("2 ** 200", str(2**200)),
    ],
)
def test_results(expression: str, result: str) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "empty"),
        ("1 +", "not an arithmetic expression"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9 ** 9 ** 9", "too large"),
        ("10.0 ** 999", "too large"),
        ("exp(1000)", "too large"),
        ("(-8) ** 0.5", "not a real number"),
        ("sqrt(-1)", r"sqrt\(-1\) is not defined"),
        ("factorial(5)", "no function 'factorial'"),
        ("sqrt(1, 2)", "takes one number, not 2"),
        ("round(5, 10 ** 9)", "at most 300"),
        ("1,200 * 3", "write 1200"),
        ("__import__('os')", "not arithmetic"),
        ("(1).__class__", "not arithmetic"),
        ("[x for x in (1,)]", "not arithmetic"),
        ("'a' * 3", "not arithmetic"),
        ("True + 1", "not arithmetic"),
        ("3j", "not arithmetic"),
        ("lambda: 1", "not arithmetic"),
        ("x", "'x' is not arithmetic"),
        ("1" * (LONGEST + 1), "longer than"),
        ("-" * 400 + "1", "nested|not an arithmetic"),
        ("(" * 300 + "1" + ")" * 100, "not an arithmetic"),
    ],
)
def test_refused(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        calculate(expression)


numbers = st.integers(-10_000, 10_000)


@given(numbers, numbers, numbers)
def test_agrees_with_exact_fractions(a: int, b: int, c: int) -> None:
    expected = (Fraction(a) + b) * c - Fraction(a, 7)
    found = Fraction(calculate(f"({a} + {b}) * {c} - {a} / 7"))
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-6)


@given(st.text(max_size=LONGEST + 20))
def test_any_text_gives_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert math.isfinite(float(calculate(text)))


PIECES = "1 9 0 .5 e pi ( ) + - * / // % ** ^ , 9**9 sqrt( exp( round( max( log( 1e9 99999999"


@given(st.lists(st.sampled_from(PIECES.split()), max_size=60))
def test_no_expression_takes_long(parts: list[str]) -> None:
    start = time.process_time()
    try:
        found = calculate("".join(parts))
    except ValueError:
        found = "0"
    assert len(found) < 1300
    assert time.process_time() - start < 0.5
