"""Dotted paths: what imports, what is called rightly, and that no module can harm the check."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.recipe import dotted, dotted_probe
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.nodes import Mapping, Scalar, Span, from_plain

GOOD = """
import sys
print("noise"); print("noise", file=sys.stderr)
def plain(rows): ...
def with_args(rows, *, words, seed=0, report=None): ...
def anything(rows, **kwargs): ...
def nothing(): ...
class Reader:
    def __init__(self, rows, mode="x"): ...
    @staticmethod
    def read(rows): ...
VALUE = 3
"""


@dataclass
class Context:
    project: Path
    trust: tuple[str, ...] = ()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "__init__.py").touch()
    (tmp_path / "processors" / "good.py").write_text(GOOD)
    return tmp_path


Run = Callable[..., list[Diagnostic]]


@pytest.fixture
def run(project: Path) -> Run:
    def check(
        *paths: str, args: dict[str, Any] | None = None, trust: tuple[str, ...] = (), **kwargs: Any
    ) -> Any:
        uses = []
        for line, path in enumerate(paths, 1):
            span = Span("recipe.yaml", line, 3, line, 3 + len(path))
            block = from_plain(args, span) if args is not None else None
            assert block is None or isinstance(block, Mapping)
            uses.append(dotted.Use(path, Scalar(path, span, path), block, 1, ("report",)))
        found = Diagnostics()
        kwargs.setdefault("cache", project / "cache.json")
        dotted.check_uses(uses, Context(project, trust), found, **kwargs)
        return list(found)

    return check


@pytest.mark.parametrize("name", ["plain", "anything", "Reader", "Reader.read"])
def test_good(run: Run, name: str) -> None:
    assert run(f"processors.good.{name}") == []


@pytest.mark.parametrize(
    ("path", "args", "code", "column", "words"),
    [
        ("processors.goood.plain", None, "bad-dotted-path", 14, "did you mean `processors.good`?"),
        ("processors.good.plian", None, "bad-dotted-path", 19, "did you mean `processors.good.plain`?"),
        ("processors.good.Reader.raed", None, "bad-dotted-path", 26, "has no `raed`"),
        ("processors.good.VALUE", None, "bad-dotted-path", 19, "is not a function"),
        ("rewards.none.x", None, "bad-dotted-path", 3, "there is no module `rewards`"),
        ("os.path.join", None, "untrusted", 3, "--trust os"),
        ("procesors.good.plain", None, "untrusted", 3, "did you mean `processors.good.plain`?"),
        ("processors.good.nothing", None, "bad-arguments", 3, "takes no rows"),
        ("processors.good.with_args", None, "bad-arguments", 3, "needs the argument `words`"),
        ("processors.good.with_args", {"wrods": 1, "words": 2}, "bad-arguments", 3, "did you mean `words`?"),
        ("processors.good.with_args", {"words": 1, "report": 2}, "bad-arguments", 3, "given by the launcher"),
        ("processors.good.with_args", {"words": 1, "rows": 2}, "bad-arguments", 3, "takes the rows"),
        ("processors.good.plain", {"a": 1}, "bad-arguments", 3, "no argument `a`"),
    ],
)
def test_mistake(run: Run, path: str, args: Any, code: str, column: int, words: str) -> None:
    (item,) = run(path, args=args)
    assert (item.code, item.span.column) == (code, column)
    assert words in f"{item.message} {item.hint}"


def test_trust_is_for_the_package_named(run: Run) -> None:
    assert run("os.path.join", trust=("os",), args={}) == []
    assert [d.code for d in run("ossaudio.x", trust=("os",))] == ["untrusted"]


BROKEN = {
    "syntax": ("def f(:\n", "is not valid Python"),
    "raises": ("x = 1\nraise ValueError('no luck')\n", "ValueError: no luck"),
    "needs": ("import surely_not_installed_anywhere\n", "surely_not_installed_anywhere"),
    "exits": ("raise SystemExit(0)\n", "SystemExit"),
    "dies": ("import os\nos._exit(3)\n", "exit code 3"),
    "aborts": ("import os\nos.abort()\n", "SIGABRT"),
    "hangs": ("import time\ntime.sleep(60)\n", "took longer than 2 s"),
    "spins": ("while True: pass\n", "took longer than 2 s"),
    "hoards": ("x = bytearray(1 << 44)\n", "MemoryError"),
    "forks": ("import os\nos.fork() or __import__('time').sleep(60)\ndef f(rows): ...\n", None),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_module_harms_nothing(run: Run, project: Path, name: str) -> None:
    text, words = BROKEN[name]
    (project / "processors" / f"{name}.py").write_text(text)
    started = time.monotonic()
    found = run(f"processors.{name}.f", "processors.good.plain", seconds=2)
    assert time.monotonic() - started < 45
    if words is None:
        assert found == []
        return
    (item,) = found
    assert item.code == "bad-dotted-path"
    assert item.span.line == 1
    assert words in item.message


def test_place_in_the_module_is_shown(run: Run, project: Path) -> None:
    (project / "processors" / "bad.py").write_text("x = 1\nraise ValueError('no luck')\n")
    (item,) = run("processors.bad.f")
    ((words, span),) = item.notes
    assert (words, Path(span.file).name, span.line) == ("here", "bad.py", 2)


def test_all_in_one_child_and_none_the_second_time(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    whole = dotted_probe._one_child

    def counted(*args: Any) -> Any:
        started.append(1)
        return whole(*args)

    monkeypatch.setattr(dotted_probe, "_one_child", counted)
    paths = ("processors.good.plain", "processors.good.anything", "processors.good.Reader")
    assert run(*paths) == []
    assert len(started) == 1
    before = time.perf_counter()
    assert run(*paths) == []
    assert len(started) == 1
    assert time.perf_counter() - before < 0.02
    (project / "processors" / "good.py").write_text("def other(rows): ...\n")
    assert {d.code for d in run(*paths)} == {"bad-dotted-path"}
    assert len(started) == 2


def test_change_of_an_imported_module_is_seen(run: Run, project: Path) -> None:
    (project / "processors" / "base.py").write_text("def make(rows): ...\n")
    (project / "processors" / "top.py").write_text("from processors.base import make\n")
    assert run("processors.top.make") == []
    (project / "processors" / "base.py").write_text("def make(): ...\n")
    assert [d.code for d in run("processors.top.make")] == ["bad-arguments"]


def test_no_process_without_dotted_paths(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        dotted_probe.subprocess, "Popen", lambda *a, **k: pytest.fail("a process was started")
    )
    found = Diagnostics()
    dotted.check_uses([], Context(project), found)
    assert found.ok


def test_found_by_the_schema() -> None:
    from residency.recipe import kind_schema

    described = kind_schema.load("data")
    assert described is not None
    tree = {
        "kind": "data",
        "datasets": {
            "a": {"from": "x", "process": "processors.a.b"},
            "b": {"from": "x", "process": ["processors.a.c", {"fn": "processors.a.d", "args": {"e": 1}}]},
            "c": {"from": "x", "process": {"fn": "processors.a.f"}},
            "d": {"from": "x", "process": "⟦stages.x.outputs.y⟧"},
        },
    }
    uses = dotted.functions(from_plain(tree, Span("x", 1, 1, 1, 1)), described)
    assert [u.path for u in uses] == [f"processors.a.{c}" for c in "bcdf"]
    assert [bool(u.args) for u in uses] == [False, False, True, False]
    assert uses[0].given == ("report",)


PARAMETERS = ["a", "b", "c", "d"]


@st.composite
def signatures(draw: Any) -> inspect.Signature:
    kinds = sorted(draw(st.lists(st.sampled_from(list(inspect._ParameterKind)), max_size=4)))
    made, defaults = [], False
    for index, kind in enumerate(kinds):
        if kind in (2, 4) and kind in kinds[:index]:
            continue
        default = draw(st.booleans()) if kind not in (2, 4) else False
        defaults = defaults or (default and kind < 2)
        value = 0 if (default or (defaults and kind < 2)) and kind not in (2, 4) else inspect.Parameter.empty
        made.append(inspect.Parameter(PARAMETERS[index], kind, default=value))
    return inspect.Signature(made)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(signatures(), st.sets(st.sampled_from([*PARAMETERS, "z"])), st.integers(0, 2))
def test_agrees_with_a_real_call(signature: inspect.Signature, keys: set[str], positional: int) -> None:
    span = Span("x", 1, 1, 1, 1)
    args = from_plain(dict.fromkeys(keys, 1), span)
    assert isinstance(args, Mapping)
    scope: dict[str, Any] = {}
    exec(f"def f{signature}: pass", scope)
    try:
        # Not `bind`: before Python 3.13 it refuses f(a=1) for `def f(a=0, /, **b)`, which is right.
        scope["f"](*[0] * positional, **dict.fromkeys(keys, 1))
        fits = True
    except TypeError:
        fits = False
    found = Diagnostics()
    listed = [[p.name, p.kind.name, p.default is not p.empty] for p in signature.parameters.values()]
    dotted.check_call(dotted.Use("p.f", Scalar("p.f", span), args, positional, ()), listed, found)
    assert found.ok is fits
