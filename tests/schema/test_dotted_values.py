"""The values that a function's annotations allow, as the check's child process reads them."""

from __future__ import annotations

import collections.abc
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from residency.processing import Allowed, Field
from residency.recipe import dotted
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_child import _values, describe
from residency.recipe.nodes import Mapping, Scalar, Span, from_plain


class Options(typing.TypedDict, total=False):
    mode: typing.Required[Literal["a", "b"]]
    words: int


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, {"type": "string"}),
        (int | None, {"type": ["integer", "null"]}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Path, {"type": "string"}),
        (Literal["drop", "keep"], {"enum": ["drop", "keep"]}),
        (Literal["drop", "keep"] | None, {"enum": ["drop", "keep", None]}),
        (Annotated[int, Allowed(minimum=1)], {"type": "integer", "minimum": 1}),
        (Annotated[int, "a word", Allowed(minimum=1)], {"type": "integer", "minimum": 1}),
        (
            Annotated[int, Allowed(minimum=1)] | None,
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        ),
        (list, {"type": "array"}),
        (list[Any], {"type": "array"}),
        (collections.abc.Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, str], {"type": "array"}),
        (dict[str, Any], {"type": "object"}),
        (
            collections.abc.Mapping[str, str],
            {"type": "object", "additionalProperties": {"type": "string"}},
        ),
        (
            Options,
            {
                "type": "object",
                "properties": {"mode": {"enum": ["a", "b"]}, "words": {"type": "integer"}},
                "required": ["mode"],
                "additionalProperties": False,
            },
        ),
        (Any, {}),
        (Any | None, {}),
        (object, {}),
        (typing.TypeVar("T"), {}),
        (collections.abc.Callable[[int], str], {}),
    ],
    ids=str,
)
def test_an_annotation_as_a_schema(hint: Any, schema: dict[str, Any]) -> None:
    assert describe(hint) == schema


def test_one_annotation_that_means_nothing_spoils_no_other() -> None:
    def function(rows: Any, *, words: NotThere, seed: int = 0) -> None:  # type: ignore[name-defined] # noqa: F821
        ...

    assert _values(function) == {"seed": {"type": "integer"}}


def test_a_class_is_called_by_its_init() -> None:
    class Reader:
        words: str

        def __init__(self, rows: Any, words: int = 3) -> None: ...

    assert _values(Reader) == {"words": {"type": "integer"}}


MODULE = """
from typing import Annotated, Literal
from residency.processing import Allowed
def make(rows, *, kind: Literal["long", "short"] = "long", n: Annotated[int, Allowed(minimum=1)] = 1,
         words: list[str] | None = None, free=None): ...
"""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"kind": "short", "n": 2, "words": ["a"], "free": {"a": 1}}, []),
        ({"kind": "shrot"}, [("not-a-choice", "did you mean `short`?")]),
        ({"n": 0}, [("out-of-range", "at least 1")]),
        ({"n": "2"}, [("wrong-type", "write `n: 2`")]),
        ({"words": "a"}, [("wrong-type", "write it as a list: `words: [a]`")]),
        ({"words": None}, []),
        ({"kind": "⟦stages.a.outputs.b⟧", "n": "⟦stages.a.outputs.b⟧"}, [("wrong-type", "")]),
    ],
)
def test_values_are_checked(tmp_path: Path, args: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "good.py").write_text(MODULE)
    (tmp_path / "residency").symlink_to(Path(__file__).resolve().parents[2] / "residency")
    span = Span("recipe.yaml", 1, 1, 1, 1)
    block = from_plain(args, span)
    assert isinstance(block, Mapping)
    use = dotted.Use("processors.good.make", Scalar("processors.good.make", span), block, 1, ("report",))

    class Context:
        project = tmp_path
        trust = ()

    for _ in range(2):  # asked of a child, then of what is remembered
        found = Diagnostics()
        dotted.check_uses([use], Context(), found, cache=tmp_path / "cache.json")
        assert [item.code for item in found] == [code for code, _ in expected]
        for item, (_, words) in zip(found, expected, strict=True):
            assert words in f"{item.message} {item.hint}"


def test_a_field_is_marked_as_one() -> None:
    assert describe(Field) == {"type": "string", "minLength": 1, "x-field": True}
