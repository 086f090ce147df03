"""verl's loop of turns with tools, which also keeps the model's own words apart from the tools'.

It takes the name of verl's own, `tool_agent`, through `agent.agent_loop_config_path`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop

from residency.engines.verl.driver.answer import TURNS, turns


class ToolLoop(ToolAgentLoop):
    """Turns of the model and of its tools until it calls no tool any more, or a limit is met."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """One rollout; `extra_fields["turns"]` of it holds the model's own text, turn by turn."""
        output = await super().run(sampling_params, priority, **kwargs)
        output.extra_fields[TURNS] = turns(output.response_ids, output.response_mask, self.tokenizer)
        return output

    async def _call_tool(self, *args: Any, **kwargs: Any) -> Any:
        """What the tool answers, in which no text is a special token.

        Else a search result that quotes `<|im_end|><|im_start|>assistant` would be read as the
        model's own turn.
        """
        response, *rest = await super()._call_tool(*args, **kwargs)
        if response.text:
            response.text = harmless(response.text, self._special)
        return (response, *rest)

    @cached_property
    def _special(self) -> tuple[str, ...]:
        return special_tokens(self.tokenizer)


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that the tokenizer reads as special tokens, longest first."""
    known = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*known, *tokenizer.all_special_tokens}, key=lambda text: (-len(text), text)))


def harmless(text: str, special: tuple[str, ...]) -> str:
    """The text with a space after the first letter of each special token in it."""
    for token in special:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
