"""How long a prompt is for the policy, and how one that is too long is made to fit.

A prompt is measured as the rollout will see it: the tokens of the model's chat template over its
messages, the tools' schemas and the turn opened for the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from residency.errors import StageFailed

Message = Mapping[str, str]
TEMPLATE_KEY = "verl.actor_rollout_ref.model.custom_chat_template"


class Measure:
    """Counts tokens of prompts."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        template: Mapping[str, Any] | None = None,
    ) -> None:
        """Look whether the tokenizer can do what is asked of it.

        Args:
            tokenizer: The policy's, of transformers.
            tools: The tools' schemas.
            template: Further variables of the chat template (`verl.data.apply_chat_template_kwargs`).

        Raises:
            StageFailed: It has no chat template, or one that knows no tools where there are some.
        """
        self.tokenizer = tokenizer
        self.tools = list(tools) or None
        self.variables = {
            key: value
            for key, value in (template or {}).items()
            if key not in ("tokenize", "return_dict", "return_tensors", "add_generation_prompt")
        }
        if not tokenizer.chat_template:
            raise StageFailed(
                f"the model {tokenizer.name_or_path} has no chat template, so that no prompt can be made",
                f"take an instruction-tuned model, or write a template under `{TEMPLATE_KEY}`",
            )
        if self.tools:
            self._knows_tools()

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt's text, special tokens included.

        Raises:
            StageFailed: The template refuses the messages.
        """
        import jinja2

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tools=self.tools,
                    tokenize=False,
                    add_generation_prompt=True,
                    **self.variables,
                )
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            hint = "the roles are " + roles
            if roles.startswith("system"):
                hint += "; if it knows no system message, put its text into `rows: {prompt: …}` instead"
            raise StageFailed(f"the model's chat template refuses a prompt: {error}", hint) from None

    def lengths(self, prompts: Sequence[Sequence[Message]]) -> list[int]:
        """Tokens of each prompt, counted together."""
        if not prompts:
            return []
        ids = self.tokenizer(
            [self.text(messages) for messages in prompts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return [len(one) for one in ids]

    def cut(self, messages: Sequence[Message], limit: int) -> tuple[list[dict[str, str]], int] | None:
        """The messages with the beginning of their longest text left out, so that they fit.

        The template keeps its shape, since whole messages and its own tokens stay. A system
        message is cut last; no text is cut to nothing but where another can follow.

        Args:
            messages: A prompt of more than `limit` tokens.
            limit: Tokens.

        Returns:
            The prompt and its length, at most `limit` tokens; None when the template alone has more.
        """
        left = [dict(message) for message in messages]
        order = sorted(
            range(len(left)), key=lambda i: (left[i]["role"] == "system", -len(left[i]["content"]), i)
        )
        for index in order:
            whole = left[index]["content"]
            left[index]["content"] = ""
            without = self.lengths([left])[0]
            if without <= limit:
                return left, self._most(left, index, whole, limit, without)
        return None

    def _most(self, messages: list[dict[str, str]], index: int, text: str, limit: int, without: int) -> int:
        """Put as much of the end of `text` as fits into message `index`; returns the prompt's length.

        Args:
            messages: The prompt, with nothing in that message.
            index: Which.
            text: What stood there, more than fits.
            limit: Tokens.
            without: The prompt's length with nothing in that message, at most `limit`.
        """

        def fits(start: int) -> int | None:
            messages[index]["content"] = text[start:].lstrip()
            length = self.lengths([messages])[0]
            return length if length <= limit else None

        starts = self._starts(text)
        low = max(0, len(starts) - (limit - without))
        if self.tokenizer.is_fast:
            # Where tokens meet the template one more or less may be needed: look a little further.
            step = 0
            while low + step < len(starts):
                if (length := fits(starts[low + step])) is not None:
                    return length
                step = 2 * step + 1
        else:
            low, high = 0, len(starts)
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if fits(starts[middle]) is not None else (middle + 1, high)
            if low < len(starts) and (length := fits(starts[low])) is not None:
                return length
        messages[index]["content"] = ""
        return without

    def _starts(self, text: str) -> Sequence[int]:
        """Where each token of the text begins; each character, where the tokenizer cannot tell."""
        if not self.tokenizer.is_fast:
            return range(len(text))
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [start for start, _ in found["offset_mapping"]]

    def _knows_tools(self) -> None:
        """Whether tools change the prompt, and a tool's answer can be shown to the model."""
        question = [{"role": "user", "content": "?"}]
        told = self.text(question)
        tools, self.tools = self.tools, None
        untold = self.text(question)
        self.tools = tools
        name = tools[0]["function"]["name"] if tools else ""
        answer = "<<the tool's answer>>"
        call = {"type": "function", "function": {"name": name, "arguments": {}}}
        turns: list[Any] = [
            {"role": "system", "content": "s"},
            *question,
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        shown = ""
        if told != untold:
            try:
                shown = self.text([*turns, {"role": "tool", "content": answer}])
            except StageFailed:
                shown = ""
        if answer not in shown:
            what = "of tools" if told == untold else "what a tool answered"
            raise StageFailed(
                f"the chat template of {self.tokenizer.name_or_path} does not tell the model {what}",
                f"take a model that was trained to call tools, or write a template that renders `tools` "
                f"and messages of role `tool` under `{TEMPLATE_KEY}`",
            )
