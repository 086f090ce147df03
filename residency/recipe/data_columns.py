"""Compares an entry of dataset_info.json with the first rows of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.recipe import json_reader
from residency.recipe.data_rows import BadRow, Rows, first_rows
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Node, Span, at, plain
from residency.recipe.suggest import closest

# What each form of rows uses, and where it is looked for when `columns` is left out.
ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
CONVERSATION = {"messages": "conversations"}
_TYPES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_OPENAI = (
    'roles as in OpenAI\'s messages: `"tags": {"role_tag": "role", "content_tag": "content", "user_tag": '
)
_OPENAI += '"user", "assistant_tag": "assistant", "system_tag": "system"}`'


def check_rows(path: Path, name: str, entry: Mapping, key: Span, found: Diagnostics, *, cwd: Path) -> None:
    """Say which columns (`column-missing`) and tags (`wrong-tags`) the file does not have.

    Args:
        path: The data file.
        name: The dataset's name.
        entry: Its entry, which fits the schema.
        key: Where the dataset's name is written.
        found: Takes the diagnostics.
        cwd: The folder that paths are shown from.
    """
    shown = json_reader.shown(path, cwd)
    try:
        rows = first_rows(path)
    except BadRow as error:
        span = Span(shown, error.line, error.column, error.line, error.column + 1)
        found.add(
            "bad-data", f"{shown}, line {error.line}: {error.message}", span, notes=[("used here", key)]
        )
        return
    except OSError as error:
        found.add("missing-file", f"{shown} cannot be read: {error.strerror}", key)
        return
    if rows is None:
        return
    if not rows.columns:
        found.add("bad-data", f"{shown} holds no rows", key)
        return
    columns = _columns(entry)
    for role, (column, where) in columns.items():
        if column in rows.columns or (role in ("system", "tools") and _form(entry) == "openai"):
            continue  # OpenAI's form takes these two only where a row has them
        _say_missing(role, column, where or key, where is not None, name, rows, shown, found)
    _check_types(rows, [column for column, _ in columns.values()], key, shown, found)
    messages = columns.get("messages")
    if messages is not None and messages[0] in rows.columns:
        _check_messages(rows, messages[0], entry, key, shown, found)


def _form(entry: Mapping) -> str:
    return str(plain(entry).get("formatting", "alpaca"))


def _columns(entry: Mapping) -> dict[str, tuple[str, Node | None]]:
    """What is read of each row: role → (column, where it is written; None for a default)."""
    defaults = ALPACA if _form(entry) == "alpaca" else CONVERSATION
    given = entry.get("columns")
    used = {*defaults, "system", "tools", "images", "videos", "audios", "kto_tag"}
    if _form(entry) == "alpaca":
        used.add("history")
    if plain(entry).get("ranking"):
        used |= {"chosen", "rejected"}
        used.discard("response")
    if not isinstance(given, Mapping):
        return {role: (column, None) for role, column in defaults.items() if role in used}
    found: dict[str, tuple[str, Node | None]] = {}
    for role, written in given.entries.items():
        value = plain(written.value)
        if role in used and isinstance(value, str):
            found[role] = (value, written.value)
    return found


def _say_missing(
    role: str,
    column: str,
    where: Node | Span,
    named: bool,
    name: str,
    rows: Rows,
    shown: str,
    found: Diagnostics,
) -> None:
    near = closest(column, rows.columns)
    has = ", ".join(rows.columns[:12])
    if named:
        hint = f"did you mean `{near[0]}`? " if near else ""
        found.add("column-missing", f"{shown} has no column `{column}`", where, hint=f"{hint}it has {has}")
        return
    message = f"{shown} has no column `{column}`, where `{name}` looks for the {role}"
    example = near[0] if near else rows.columns[0]
    hint = f'it has {has}; add `"columns": {{"{role}": "{example}", …}}` to the entry'
    found.add("column-missing", message, where, hint=hint)


def _check_types(rows: Rows, columns: list[str], key: Span, shown: str, found: Diagnostics) -> None:
    """A column is of one type in all rows, or the file is not read at all."""
    for column in dict.fromkeys(columns):
        first: tuple[int, str] | None = None
        for number, row in enumerate(rows.rows, 1):
            kind = _TYPES.get(type(row.get(column)))
            if kind is None:
                continue
            first = first or (number, kind)
            if kind != first[1]:
                message = f"`{column}` of {shown} is {first[1]} in row {first[0]}, but {kind} in row {number}"
                found.add("bad-data", message, key, hint="each column must hold one type in all rows")
                break


def _check_messages(
    rows: Rows, column: str, entry: Mapping, key: Span, shown: str, found: Diagnostics
) -> None:
    """The messages of the first rows have the keys and the roles that the tags name."""
    tags = {**TAGS, **(plain(entry).get("tags") or {})}
    where = at(entry, ("tags",)) or at(entry, ("columns", "messages")) or key
    if isinstance(where, Mapping):
        where = entry.entries["tags"].key_span
    seen: dict[str, None] = {}
    for number, row in enumerate(rows.rows, 1):
        messages = row.get(column)
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            message = f"row {number} of {shown}: `{column}` must be a list of messages"
            found.add("bad-data", message, where)
            return
        for message in messages:
            for tag in ("role_tag", "content_tag"):
                if tags[tag] not in message and not (tag == "content_tag" and "tool_calls" in message):
                    has = ", ".join(f"`{name}`" for name in message)
                    words = f"a message of {shown} has no `{tags[tag]}` ({tag})"
                    hint = _OPENAI if {"role", "content"} <= message.keys() else "name it under `tags`"
                    found.add("wrong-tags", words, where, hint=f"it has {has}; {hint}")
                    return
            seen[str(message[tags["role_tag"]])] = None
    known = {tags[tag] for tag in TAGS if tag.endswith("_tag") and tag not in ("role_tag", "content_tag")}
    odd = [role for role in seen if role not in known]
    if odd:
        words = f"messages of {shown} have the role `{odd[0]}`, which is none of the tags"
        hint = _OPENAI if odd[0] in ("user", "assistant") else f"the tags are {_listed(known)}"
        found.add("wrong-tags", words, where, hint=f"{hint}; such rows would be left out or end the run")


def _listed(names: set[Any]) -> str:
    return ", ".join(sorted(f"`{name}`" for name in names if name))
