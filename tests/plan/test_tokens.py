from __future__ import annotations

from residency.plan import tokens


def test_a_stage_output_is_told_from_other_tokens() -> None:
    assert tokens.stage_output("stages.sft.outputs.model") == ("sft", "model")
    assert tokens.stage_output("stages.outer/inner.outputs.model") == ("outer/inner", "model")
    assert tokens.stage_output("secret:KEY") is None
    assert tokens.secret_name("secret:KEY") == "KEY"
    assert tokens.secret_name("stages.a.outputs.b") is None


def test_tokens_are_found_and_replaced_however_deep() -> None:
    value = {"a": ["x ⟦stages.s.outputs.m⟧/y", 3], "b": {"c": "⟦secret:K⟧"}, "d": None}
    assert list(tokens.tokens(value)) == ["stages.s.outputs.m", "secret:K"]
    replaced = tokens.replace(value, lambda text: f"<{text}>")
    assert replaced == {"a": ["x <stages.s.outputs.m>/y", 3], "b": {"c": "<secret:K>"}, "d": None}
    assert value["b"] == {"c": "⟦secret:K⟧"}, "the original is left as it was"
