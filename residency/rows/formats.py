"""Training formats: what a row of each holds, how one becomes another, how it is registered.

Each format is one that LLaMA-Factory reads; `entry` is its dataset_info.json entry. So that the
entry is known before a row is made, every row of a format has every column of it, empty where
there is nothing to say.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from residency.processing import Row

FORMATS = ("alpaca", "sharegpt", "openai", "ranking", "kto", "text", "rows")

_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
_ROLES = {
    **{theirs: ours for ours, theirs in _SHAREGPT_ROLES.items()},
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "bot": "assistant",
    "function_call": "function",
    "function": "function",
    "developer": "system",
}


class BadRow(Exception):
    """A row that cannot be brought into a format; the text says why."""


def entry(format: str) -> dict[str, Any] | None:
    """The dataset_info.json entry of a format, less `file_name`; None for plain rows."""
    alpaca = {"prompt": "instruction", "query": "input"}
    if format == "alpaca":
        return {"formatting": "alpaca", "columns": {**alpaca, "response": "output", "system": "system"}}
    if format == "ranking":
        columns = {**alpaca, "chosen": "chosen", "rejected": "rejected", "system": "system"}
        return {"formatting": "alpaca", "ranking": True, "columns": columns}
    if format == "kto":
        columns = {**alpaca, "response": "output", "system": "system", "kto_tag": "kto_tag"}
        return {"formatting": "alpaca", "columns": columns}
    if format == "text":
        return {"formatting": "alpaca", "columns": {"prompt": "text"}}
    if format == "sharegpt":
        return {
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "tools": "tools"},
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "observation_tag": "observation",
                "function_tag": "function_call",
                "system_tag": "system",
            },
        }
    if format == "openai":
        # The sharegpt reader takes these names too, and is the stricter of the two.
        return {
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "tools": "tools"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "observation_tag": "tool",
                "function_tag": "function",
                "system_tag": "system",
            },
        }
    return None


def to_format(row: Row, format: str) -> Row:
    """The row in a format, from whichever format it is in; other fields are kept.

    Raises:
        BadRow: It is in none, or lacks what the format needs.
    """
    if format == "rows":
        return row
    if format == "text":
        return {"text": _filled(row, "text"), **_rest(row, "text")}
    if format == "ranking":
        prompt = {"instruction": _filled(row, "instruction"), "input": _string(row, "input")}
        sides = {"chosen": _filled(row, "chosen"), "rejected": _filled(row, "rejected")}
        return {**prompt, **sides, "system": _string(row, "system"), **_rest(row, *prompt, *sides, "system")}
    if format == "kto":
        if not isinstance(row.get("kto_tag"), bool):
            raise BadRow("kto_tag is not true or false")
        return {**to_format(_rest(row, "kto_tag"), "alpaca"), "kto_tag": row["kto_tag"]}
    messages = to_messages(row)
    rest = _rest(row, *_OWN)
    tools = row.get("tools") or ""
    tools = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
    if format == "alpaca":
        return {**_to_alpaca(row, messages), **rest}
    if format == "sharegpt":
        turns = [
            {"from": _SHAREGPT_ROLES.get(m["role"], "function_call"), "value": m["content"]} for m in messages
        ]
        return {"conversations": turns, "tools": tools, **rest}
    if format == "openai":
        return {"messages": messages, "tools": tools, **rest}
    raise ValueError(format)


def fields_of(format: str, fields: Collection[str]) -> set[str]:
    """Every field that `to_format` can give from rows of these fields."""
    if format == "rows":
        return set(fields)
    columns = {**(entry(format) or {})["columns"]}
    return {*fields, *columns.values()}


_OWN = ("instruction", "input", "output", "system", "history", "conversations", "messages", "tools")


def to_messages(row: Row) -> list[dict[str, str]]:
    """A row of any conversation format as messages: {role, content}, a system message first.

    Roles are system, user, assistant, function (a call) and tool (its result). Turns must
    alternate, begin with the user's and end with the assistant's.

    Raises:
        BadRow: It is none, or its turns are out of order.
    """
    messages: list[dict[str, str]] = []
    turns = row.get("messages", row.get("conversations"))
    if isinstance(turns, list):
        for turn in turns:
            messages.append(_turn(turn))
        if row.get("system") and messages and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": _string(row, "system")})
    elif isinstance(row.get("instruction"), str):
        if system := _string(row, "system"):
            messages.append({"role": "system", "content": system})
        for pair in row.get("history") or []:
            if not (
                isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
            ):
                raise BadRow("history is not a list of pairs")
            messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        text = "\n".join(t for t in (_string(row, "instruction"), _string(row, "input")) if t)
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": _string(row, "output")})
    else:
        raise BadRow("neither instruction, conversations nor messages")
    talk = [m for m in messages if m["role"] != "system"]
    if any(m["role"] == "system" for m in messages[1:]):
        raise BadRow("a system message after the first turn")
    if not talk or len(talk) % 2:
        raise BadRow("the last turn is not the assistant's")
    for index, message in enumerate(talk):
        if (message["role"] in ("user", "tool")) != (index % 2 == 0):
            raise BadRow("turns that do not alternate")
        if not message["content"].strip():
            raise BadRow("an empty turn")
    return messages


def _turn(turn: object) -> dict[str, str]:
    """One turn of sharegpt or openai as {role, content}."""
    if not isinstance(turn, Mapping):
        raise BadRow("a turn that is not an object")
    role = _ROLES.get(str(turn.get("role", turn.get("from"))))
    content = turn.get("content", turn.get("value"))
    if role is None:
        raise BadRow(f"an unknown role: {turn.get('role', turn.get('from'))}"[:80])
    if isinstance(content, list):
        # Parts, as some services write them: text is kept, anything else is no text.
        if any(not isinstance(p, Mapping) or p.get("type") != "text" for p in content):
            raise BadRow("a turn with other than text")
        content = "".join(str(p.get("text", "")) for p in content)
    if calls := turn.get("tool_calls"):
        try:
            content = json.dumps([call["function"] for call in calls], ensure_ascii=False)
        except (TypeError, KeyError):
            raise BadRow("a tool call without its function") from None
        role = "function"
    if not isinstance(content, str):
        raise BadRow("a turn without text")
    return {"role": role, "content": content}


def _to_alpaca(row: Row, messages: list[dict[str, str]]) -> Row:
    """Instruction, input, output, system."""
    if "instruction" in row and not row.get("history"):
        if not _string(row, "instruction").strip():
            raise BadRow("no instruction")
        return {key: _string(row, key) for key in ("instruction", "input", "output", "system")}
    talk = [m for m in messages if m["role"] != "system"]
    if len(talk) != 2:
        raise BadRow("more than one turn: alpaca holds one; use format sharegpt or openai")
    if talk[0]["role"] != "user" or talk[1]["role"] != "assistant":
        raise BadRow("a tool call: use format sharegpt or openai")
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return {"instruction": talk[0]["content"], "input": "", "output": talk[1]["content"], "system": system}


def _string(row: Row, key: str) -> str:
    """The text under `key`, "" when there is none."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(f"{key} is not text")
    return value


def _filled(row: Row, key: str) -> str:
    """The text under `key`, which must not be empty."""
    value = _string(row, key)
    if not value.strip():
        raise BadRow(f"no {key}")
    return value


def _rest(row: Row, *own: str) -> Row:
    """The fields of a row that a format does not use."""
    return {key: value for key, value in row.items() if key not in own}
