"""residency.recipe.interpolate, grammar, grammar_visitor, resolvers"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from residency.recipe import grammar
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.interpolate import Resolver
from residency.recipe.nodes import Mapping, Span, at, from_plain, plain
from residency.recipe.yaml_reader import read

Load = Callable[..., Any]
PROJECT = Path(__file__).resolve().parents[2]


def resolve(value: Any, **more: Any) -> tuple[Any, list[str]]:
    """A tree resolved, and the codes of what was found."""
    root = from_plain(value, Span("f", 1, 1, 1, 1), literal=False)
    assert isinstance(root, Mapping)
    found = Diagnostics()
    return plain(Resolver(root, found, **more).resolve()), [item.code for item in found]


SAME = [
    {"a": 1, "b": "${a}", "c": "x-${a}-y", "d": ["${a}", "${b}"]},
    {"a": {"b": {"c": [1, 2]}}, "x": "${a}", "y": "${a.b.c}", "z": "${a.b.c.1}", "w": "${a[b].c[0]}"},
    {"a": {"b": 1, "c": "${.b}", "d": {"e": "${..b}", "f": "${...x}"}}, "x": 2},
    {"l": [1, "${.0}", ["${..0}"], {"k": "${..1}"}]},
    {"a": {"b": "v"}, "k": "b", "x": "${a.${k}}", "y": "${a[${k}]}"},
    {"a": "\\${b}", "b": "\\\\${c}", "c": 1, "d": "x\\y", "e": "\\\\\\${c}", "f": "C:\\dir\\${c}"},
    {"a": "$", "b": "$$", "c": "$a", "d": "{a}", "e": "$ {a}", "f": "a$"},
    {"a": None, "b": "${a}", "c": "x${a}", "d": True, "e": "x${d}", "f": 1e-6, "g": "x${f}"},
    {"a": {"x": "${b}"}, "b": {"y": 1}, "c": "${a.x.y}"},
    {"a": "${oc.select:b.c,7}", "b": {"d": 1}, "c": "${oc.select:b.d}", "e": "${oc.select:nothing}"},
    {"a": "${oc.decode:'[1, x, {k: 2.5}]'}", "b": "${oc.create:{x: 1}}", "c": "${oc.create:[1,${d}]}",
     "d": 4},
    {"a": {"x": 1, "y": 2}, "k": "${oc.dict.keys:a}", "v": "${oc.dict.values:a}"},
    {"a": "${oc.env:RESIDENCY_NO,x}", "b": "${oc.env:RESIDENCY_NO,3}", "c": "${oc.env:RESIDENCY_NO,null}"},
    {"a": "${oc.env:RESIDENCY_NO,'with space, and comma'}", "b": "${oc.env:RESIDENCY_NO,${c}}", "c": "deep"},
    {"a": "${ b }", "b": 1, "c": "${  oc.select : b , 3 }"},
    {"under_score": {"with-dash": 1}, "x": "${under_score.with-dash}"},
    {"verl": {"a": "${oc.select:.b,1}", "b": 2}},
]  # fmt: skip


@pytest.mark.parametrize("value", SAME)
@pytest.mark.parametrize("full", [False, True], ids=["quick", "full grammar"])
def test_as_omegaconf(value: Any, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if full:
        monkeypatch.setattr(grammar, "_simple", lambda text: None)
    expected = OmegaConf.to_container(OmegaConf.create(value), resolve=True)
    found, codes = resolve(value)
    assert codes == []
    assert found == expected


words = st.sampled_from(
    ["a", "b", "c", "a.x", "b.0", ".a", "..b", "nothing", "a.x.y", "oc.env:NO_SUCH,z", "oc.select:a,1"]
)
pieces = st.one_of(
    st.builds(lambda word: "${" + word + "}", words),
    st.sampled_from(
        ["x", " ", "$", "\\", "{", "}", "é", "${", "\\${a}", "'", ",", ":", "${a${b}}", "${}", "$$"]
    ),
)
texts = st.lists(pieces, min_size=1, max_size=5).map("".join)
leaves = st.one_of(st.integers(), st.booleans(), st.none(), st.text("xyz", max_size=3), texts)


@given(
    st.fixed_dictionaries(
        {
            "a": st.one_of(leaves, st.fixed_dictionaries({"x": leaves, "y": leaves})),
            "b": st.one_of(leaves, st.lists(leaves, min_size=1, max_size=3)),
            "c": leaves,
        }
    )
)
@settings(deadline=None, max_examples=400)
@example({"a": "${b}", "b": "${a}", "c": 1})
@example({"a": {"x": "${a}", "y": 1}, "b": 1, "c": 1})
@example({"a": "$${b}", "b": 1, "c": "${c}"})
def test_whatever_omegaconf_resolves_is_the_same(value: Any) -> None:
    try:
        expected = OmegaConf.to_container(OmegaConf.create(value), resolve=True)
    except Exception:  # It raises whatever its parser and its containers happen to raise.
        assert resolve(value) is not None
        return
    found, codes = resolve(value)
    if codes:
        # What is stricter here: a list or mapping inside a text.
        assert set(codes) <= {"bad-interpolation", "circular-interpolation"}, (value, codes, expected)
        return
    assert found == expected


@given(texts)
@settings(deadline=None, max_examples=400)
def test_both_readers_of_the_grammar_agree(text: str) -> None:
    value = {"a": {"x": 1}, "b": [2], "c": "v", "t": text}
    quick = resolve(value)
    simple = grammar._simple
    grammar._simple = lambda _: None
    try:
        full = resolve(value)
    finally:
        grammar._simple = simple
    assert quick == full


def test_a_value_keeps_its_type_and_both_places(load_files: Load) -> None:
    loaded = load_files(
        "kind: sft\nparams: {n: 8, m: {x: [1]}}\nllamafactory:\n  rank: ${params.n}\n  m: ${params.m}\n"
    )
    rank = at(loaded.recipe.tree, ("llamafactory", "rank"))
    assert (rank.value, rank.span.line, rank.span.column, rank.via.line, rank.literal) == (8, 2, 13, 4, True)
    inner = at(loaded.recipe.tree, ("llamafactory", "m", "x", 0))
    assert (inner.value, inner.span.line, inner.via.line) == (1, 2, 5)
    loaded.found.add("x", "m", rank)
    assert loaded.found.items[-1].notes == (("used here", rank.via),)


def test_what_is_resolved_is_not_resolved_again(load_files: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_TEXT", "${kind}")
    loaded = load_files("kind: sft\na: ${env:RESIDENCY_TEXT}\nb: ${a}\nc: \\${kind}\nd: ${c}\n")
    assert loaded.found.items == []
    assert loaded.config == {"kind": "sft", "a": "${kind}", "b": "${kind}", "c": "${kind}", "d": "${kind}"}
    assert loaded.recipe.tree.get("b").literal


@pytest.mark.parametrize(
    ("text", "code", "piece", "hint"),
    [
        ("${params.modle}", "undefined-interpolation", "${params.modle}", "${params.model}"),
        ("${parms.model}", "undefined-interpolation", "${parms.model}", "${params.model}"),
        ("${model}", "undefined-interpolation", "${model}", "${params.model}"),
        ("x/${nothing.here}/y", "undefined-interpolation", "${nothing.here}", None),
        ("${params.zzz}", "undefined-interpolation", "${params.zzz}", "declare it"),
        ("${.nope}", "undefined-interpolation", "${.nope}", "one dot"),
        ("${params.model", "bad-interpolation", "${", "\\${"),
        ("a ${} b", "bad-interpolation", "${}", None),
        ("${params.model:-x}", "bad-interpolation", "${params.model:-x}", "calls a resolver"),
        ("${params.n + 1}", "bad-interpolation", "${params.n + 1}", "no expression"),
        ("${env:RESIDENCY_NOT_SET}", "undefined-interpolation", "${env:RESIDENCY_NOT_SET}", "DEFAULT"),
        ("${env:}", "bad-interpolation", "${env:}", "${env:NAME,default}"),
        ("${evn:HOME}", "bad-interpolation", "${evn:HOME}", "`env`"),
        ("${now:%Y}", "bad-interpolation", "${now:%Y}", "there are"),
        ("${stages.a.outputs.b}", "no-stages", "${stages.a.outputs.b}", "with:"),
        ("${loop.index}", "no-stages", "${loop.index}", None),
        ("${services.r.url}", "unknown-service", "${services.r.url}", "services:"),
        ("${secret:HF_TOKEN}", "secret-outside-env", "${secret:HF_TOKEN}", "env:"),
        ("${secret:}", "bad-interpolation", "${secret:}", "NAME"),
        ("n ${params.list}", "bad-interpolation", "${params.list}", "whole value"),
    ],
)
def test_mistakes_are_placed_at_the_interpolation(
    load_files: Load, text: str, code: str, piece: str, hint: str | None
) -> None:
    loaded = load_files(f"kind: sft\nparams: {{model: m, n: 1, list: [1]}}\nllamafactory:\n  x: '{text}'\n")
    assert loaded.codes == [code], loaded.told
    item = loaded.found.items[0]
    line = loaded.found.sources["recipe.yaml"].splitlines()[item.span.line - 1]
    assert item.span.line == 4
    if code != "secret-outside-env":
        assert line[item.span.column - 1 : item.span.end_column - 1] == piece
    assert hint is None or hint in (item.hint or ""), item.hint
    assert loaded.recipe is not None


def test_each_of_two_mistakes_in_one_text_is_found_in_turn(load_files: Load) -> None:
    loaded = load_files("kind: sft\na: ${x.y}-${name}\nname: n\nb: ${q.r}\n")
    assert [(d.span.line, d.span.column) for d in loaded.found] == [(2, 4), (4, 4)]
    assert loaded.config["a"] == "${x.y}-${name}"


def test_a_circle_is_named_once(load_files: Load) -> None:
    loaded = load_files("kind: sft\na: ${b}\nb: ${c.d}\nc: {d: 'x${a}'}\ne: ${a}\n")
    assert [(d.span.line, d.code, d.message) for d in loaded.found] == [
        (2, "circular-interpolation", "interpolations run in a circle: a → b → c.d → a")
    ]
    assert [span.line for _, span in loaded.found.items[0].notes] == [3, 4]


def test_a_mapping_cannot_hold_itself(load_files: Load) -> None:
    loaded = load_files("kind: sft\na: {b: '${a}'}\n")
    assert loaded.codes == ["circular-interpolation"]


def test_interpolation_bombs_are_stopped(load_files: Load) -> None:
    lines = ["kind: sft", "x0: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"x{i}: [{', '.join([chr(34) + '${x' + str(i - 1) + '}' + chr(34)] * 10)}]" for i in range(1, 20)
    ]
    started = time.perf_counter()
    loaded = load_files("\n".join(reversed(lines)) + "\n")
    assert loaded.codes
    assert set(loaded.codes) <= {"too-many-values", "circular-interpolation"}
    assert time.perf_counter() - started < 20


def test_a_long_chain_is_no_crash(load_files: Load) -> None:
    loaded = load_files("kind: sft\n" + "".join(f"x{i}: ${{x{i + 1}}}\n" for i in range(500)) + "x500: 1\n")
    assert set(loaded.codes) == {"circular-interpolation"}


def test_the_environment(load_files: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_N", "3")
    monkeypatch.setenv("RESIDENCY_OFF", "off")
    monkeypatch.delenv("RESIDENCY_UNSET", raising=False)
    loaded = load_files(
        "kind: sft\na: ${env:RESIDENCY_N}\nb: ${oc.env:RESIDENCY_N}\nc: ${env:RESIDENCY_UNSET,4}\n"
        "d: ${oc.env:RESIDENCY_UNSET,4}\ne: ${env:RESIDENCY_UNSET,a/b-c}\nf: ${env:RESIDENCY_OFF}\n"
        "g: ${env:RESIDENCY_UNSET,${a}}\nh: ${env:RESIDENCY_UNSET,null}\n"
    )
    assert loaded.found.items == []
    assert loaded.config == {
        "kind": "sft", "a": 3, "b": "3", "c": 4, "d": "4", "e": "a/b-c", "f": "off", "g": 3, "h": None,
    }  # fmt: skip


def test_the_environment_cannot_bring_a_token(load_files: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_BAD", "⟦secret:X⟧")
    assert load_files("kind: sft\na: ${env:RESIDENCY_BAD}\n").codes == ["reserved-character"]


def test_secrets_stand_under_env_alone(load_files: Load) -> None:
    loaded = load_files("kind: sft\nenv: {TOKEN: '${secret:HF_TOKEN}', B: 'x ${secret:B}'}\n")
    assert loaded.found.items == []
    assert loaded.config["env"] == {"TOKEN": "⟦secret:HF_TOKEN⟧", "B": "x ⟦secret:B⟧"}
    assert [(ref.kind, ref.target, ref.path) for ref in loaded.recipe.references] == [
        ("secret", ("HF_TOKEN",), ("env", "TOKEN")),
        ("secret", ("B",), ("env", "B")),
    ]
    around = load_files("kind: sft\nenv: {TOKEN: '${secret:HF_TOKEN}'}\nllamafactory: {x: '${env.TOKEN}'}\n")
    assert around.codes == ["secret-outside-env"]


def test_a_block_of_an_engine_may_start_at_itself(load_files: Load) -> None:
    loaded = load_files(
        """
        kind: sft
        params: {n: 4}
        verl:
          data: {max_prompt_length: 96, batch: "${params.n}"}
          actor.optim.lr: 1e-6
          a: ${data.max_prompt_length}
          b: ${actor.optim.lr}
          c: ${oc.select:data.missing,3}
          d: ${trainer.project_name}/x
          e: ${oc.select:actor_rollout_ref.rollout.n,1}
        llamafactory:
          f: ${trainer.project_name}
          g: ${oc.select:data.missing,3}
        """
    )
    assert loaded.told == [
        ("recipe.yaml", 12, 6, "undefined-interpolation", "`trainer.project_name` is not defined")
    ]
    verl = loaded.config["verl"]
    assert (verl["a"], verl["b"], verl["data"]["batch"]) == (96, 1e-6, 4)
    # What neither the recipe nor the block has is left for verl, which has defaults of its own.
    assert verl["c"] == "${oc.select:data.missing,3}"
    assert verl["d"] == "${trainer.project_name}/x"
    assert verl["e"] == "${oc.select:actor_rollout_ref.rollout.n,1}"
    assert loaded.config["llamafactory"]["g"] == 3


def test_a_deprecated_key_warns(load_files: Load) -> None:
    loaded = load_files("kind: sft\nnew: 1\nold: ${oc.deprecated:new}\n")
    assert [(d.code, d.severity) for d in loaded.found] == [("deprecated", "warning")]
    assert loaded.config["old"] == 1


def test_omegaconf_is_neither_changed_nor_imported_without_need() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom residency.recipe.load import load\n"
        "recipe, found = load(Path(sys.argv[1]), kinds=['sft'])\n"
        "assert recipe.config['a'] == 'm/sft', recipe.config\nassert found.ok\n"
        "assert 'omegaconf' not in sys.modules and 'antlr4' not in sys.modules\n"
    )
    recipe = PROJECT / "tests" / "recipe" / "simple.yaml"
    subprocess.run([sys.executable, "-c", code, str(recipe)], cwd=PROJECT, check=True, timeout=60)
    before = set(OmegaConf.get_cache(OmegaConf.create({})))
    resolve({"a": "${oc.decode:'1'}", "b": "${oc.env:X,'y z'}"})
    assert set(OmegaConf.get_cache(OmegaConf.create({}))) == before
    assert not OmegaConf.has_resolver("env")
    assert not OmegaConf.has_resolver("secret")


def test_places_in_texts_that_are_folded_or_quoted() -> None:
    found = Diagnostics()
    root = read(b'a: "x \\" ${p.q} ${p.q}"\nb: |\n  first\n  second ${p.r}\n', "f", found)
    assert root is not None
    Resolver(root, found).resolve()
    assert [(d.span.line, d.span.column) for d in found] == [(1, 10), (4, 10)]
