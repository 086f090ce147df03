from __future__ import annotations

from residency.recipe import tokens


def test_a_stage_output_is_told_from_other_tokens() -> None:
    assert tokens.parse("stages.sft.outputs.model") == ("stage", ("sft", "model"))
    assert tokens.parse("stages.outer/inner.outputs.model") == ("stage", ("outer/inner", "model"))
    assert tokens.parse("secret:KEY") == ("secret", ("KEY",))


def test_tokens_are_found_and_replaced_however_deep() -> None:
    value = {"a": ["x ⟦stages.s.outputs.m⟧/y", 3], "b": {"c": "⟦secret:K⟧"}, "d": None}
    assert list(tokens.bodies(value)) == ["stages.s.outputs.m", "secret:K"]
    replaced = tokens.replace(value, lambda text: f"<{text}>")
    assert replaced == {"a": ["x <stages.s.outputs.m>/y", 3], "b": {"c": "<secret:K>"}, "d": None}
    assert value["b"] == {"c": "⟦secret:K⟧"}, "the original is left as it was"
