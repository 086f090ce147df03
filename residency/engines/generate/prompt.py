"""The messages that a row is asked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from residency.engines.generate import template
from residency.processing import Row
from residency.rows import formats

Messages = list[dict[str, str]]


class NoPrompt(ValueError):
    """A row of which no prompt can be made; the text says why."""


def messages(row: Row, prompt: Mapping[str, Any]) -> Messages:
    """The messages of a row, the last one the user's.

    Args:
        row: A row of the dataset.
        prompt: The recipe's `prompt:`: `user` and `system` are templates, `messages` names a column of
            messages. Without `user` and `messages` the row is in one of the training formats, and
            is asked up to its last answer, which is left out.

    Raises:
        NoPrompt: The row lacks a column, or there is nothing to ask.
    """
    try:
        made = _talk(row, prompt)
        if prompt.get("system") is not None:
            made = [m for m in made if m["role"] != "system"]
            if system := template.fill(str(prompt["system"]), row):
                made.insert(0, {"role": "system", "content": system})
    except template.Absent as error:
        raise NoPrompt(str(error)) from None
    except formats.BadRow as error:
        raise NoPrompt(str(error)) from None
    if not made or made[-1]["role"] not in ("user", "tool") or not made[-1]["content"].strip():
        raise NoPrompt("its last message is not the user's, or is empty")
    return made


def _talk(row: Row, prompt: Mapping[str, Any]) -> Messages:
    if prompt.get("user") is not None:
        return [{"role": "user", "content": template.fill(str(prompt["user"]), row)}]
    if prompt.get("messages"):
        given = template.look_up(str(prompt["messages"]), row)
        if not isinstance(given, list):
            raise NoPrompt(f"its `{prompt['messages']}` is no list of messages")
        talk: dict[str, Any] = {"messages": given}
    else:
        talk = dict(row)
    # `to_messages` wants an answer at the end; one is put where there is none.
    turns = talk.get("messages", talk.get("conversations"))
    key = "messages" if "messages" in talk else "conversations"
    if isinstance(turns, list):
        last = turns[-1] if turns else None
        role = str(last.get("role", last.get("from"))) if isinstance(last, Mapping) else ""
        if role in ("assistant", "gpt", "bot"):
            turns = turns[:-1]
        talk[key] = [*turns, {"role": "assistant", "content": "."}]
    elif isinstance(talk.get("instruction"), str):
        talk["output"] = "."
    else:
        raise NoPrompt("it has neither instruction, messages nor conversations; write `prompt: {user: …}`")
    return formats.to_messages(talk)[:-1]
