from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from residency.engines.verl import values

NAMES = st.text("abcxyz_", min_size=1, max_size=4)
TREES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none() | st.lists(st.integers(), max_size=2),
    lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=3),
    max_leaves=8,
)


def test_nested_and_dotted_are_one() -> None:
    nested = {"actor": {"optim": {"lr": 1}, "loss.mode": "x"}, "trainer.logger": ["console"]}
    flat = {"actor.optim.lr": 1, "actor.loss.mode": "x", "trainer.logger": ["console"]}
    assert values.flatten(nested) == flat
    assert values.flatten(values.nest(flat)) == flat


def test_the_later_of_two_that_exclude_each_other_holds() -> None:
    assert values.nest({"a": 1, "a.b": 2}) == {"a": {"b": 2}}
    assert values.nest({"a.b": 2, "a": 1}) == {"a": 1}


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_flat_and_back(tree: dict[str, object]) -> None:
    assert values.nest(values.flatten(tree)) == tree
