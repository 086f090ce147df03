"""How a row of data becomes a prompt, a ground truth and a gold answer.

Rows are read in alpaca, sharegpt and OpenAI form, as their entry of dataset_info.json says, and
in verl's own form (`prompt`, `reward_model.ground_truth`, `data_source`, `extra_info`). The keys
under `rows:` of a recipe change what is taken from them. The gold check and the writer of
prompts both read rows here, so that what is checked is what is trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import RecipeInvalid, ResidencyError, StageFailed
from residency.processing import Report
from residency.recipe.suggest import closest
from residency.rows.read import rows_of

Message = dict[str, str]

TRUTH_COLUMNS = ("ground_truth", "label", "answer")
"""Where a ground truth is looked for when the recipe names no column, in this order."""

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "assistant",
    "function_call": "assistant",
}
_TAGS = {  # a tag of dataset_info.json → the role that it stands for
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "assistant",
    "system_tag": "system",
}
# `{{name}}` is a literal `{name}`; braces around anything but a name (JSON) stay as they are.
_FIELD = re.compile(r"\{\{([^{}\n]*)\}\}|\{([^\W\d][\w .-]*)\}")


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One question."""

    messages: list[Message]
    """The prompt: {role, content} each, roles system, user, assistant, tool; the last is the user's."""
    ground_truth: Any
    """What reward functions compare an answer with; never None."""
    gold: str | None
    """A whole right answer, or None where neither the row nor the recipe gives one."""
    data_source: str
    """Handed to reward functions."""
    group: Any | None
    """What groups prompts for HRPO (`rows.group`)."""
    columns: dict[str, Any]
    """The row's own columns; for verl's rows those of `extra_info` and their `ground_truth` too."""
    index: int
    """The row's number in its file, from 0."""


class BadRow(Exception):
    """A row that cannot be used: what is wrong with it, what to do, and whether the recipe is to blame."""

    def __init__(self, message: str, hint: str | None = None, *, recipe: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.recipe = recipe


def read(
    config: Mapping[str, Any],
    path: Path,
    entry: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
) -> Iterator[RewardRow]:
    """The rows of a data file, as the recipe wants them.

    Args:
        config: The resolved recipe; its `rows:` is used.
        path: A file in JSONL, JSON, parquet, CSV or TSV, or a folder of such files.
        entry: Its entry of dataset_info.json; None where there is none: each row's columns tell.
        name: The dataset's name, the default of `data_source`; else the file's.

    Raises:
        Missing: There is no such file.
        RecipeInvalid: `rows:` names a column that is not there.
        StageFailed: The file cannot be read, holds no rows, or a row cannot be used.
    """
    wanted: Mapping[str, Any] = config.get("rows") or {}
    number = -1
    for file in sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]:
        report = Report()
        for place, row in enumerate(rows_of(file, report)):
            _refuse_dropped(file, report)
            number += 1
            try:
                yield make(wanted, row, entry, name or path.stem, number)
            except BadRow as error:
                raise _explained(error, file, place) from None
        _refuse_dropped(file, report)
    if number < 0:
        raise StageFailed(f"{path} holds no rows", "training needs at least one question")


def make(
    wanted: Mapping[str, Any], row: Mapping[str, Any], entry: Mapping[str, Any] | None, name: str, index: int
) -> RewardRow:
    """One row, as `rows:` of the recipe (`wanted`) says.

    Raises:
        BadRow: It cannot be used.
    """
    columns = dict(row)
    extra = row.get("extra_info")
    if isinstance(extra, Mapping):
        columns = {**extra, **columns}
    given = row.get("reward_model")
    if isinstance(given, Mapping) and given.get("ground_truth") is not None:
        columns.setdefault("ground_truth", given["ground_truth"])
    for column in ("images", "videos", "audios"):
        if row.get(column):
            raise BadRow(f"it has `{column}`", "prompts are text alone: leave such rows out")
    own, answer = _own(row, entry or {}, needed="prompt" not in wanted)
    messages = _prompt(wanted, own, columns)
    gold = fill(wanted["gold"], columns, "gold") if "gold" in wanted else answer
    return RewardRow(
        messages=messages,
        ground_truth=_truth(wanted, row, columns, answer),
        gold=gold,
        data_source=str(wanted.get("data_source") or row.get("data_source") or name),
        group=_column(wanted["group"], columns, "group") if "group" in wanted else None,
        columns=columns,
        index=index,
    )


def fill(template: str, columns: Mapping[str, Any], key: str) -> str:
    """The template of `rows.KEY` with each `{column}` replaced by what the row has there.

    `{{name}}` stays as `{name}`. A list of texts is joined by line breaks.

    Raises:
        BadRow: The row has no such column, or nothing in it.
    """

    def one(match: re.Match[str]) -> str:
        if match[1] is not None:
            return "{" + match[1] + "}"
        value = _column(match[2], columns, key)
        if isinstance(value, list | tuple):
            return "\n".join(str(item) for item in value)
        return str(value)

    return _FIELD.sub(one, template)


def fields(template: str) -> list[str]:
    """The columns that a template of `rows:` names, in order."""
    return [match[2] for match in _FIELD.finditer(template) if match[2] is not None]


def _column(column: str, columns: Mapping[str, Any], key: str) -> Any:
    """What stands in the column that `rows.KEY` names."""
    if column not in columns:
        near = closest(column, columns)
        hint = f"did you mean `{near[0]}`? " if near else ""
        has = "it has " + ", ".join(list(columns)[:12])
        raise BadRow(f"there is no column `{column}`, which `rows.{key}` names", hint + has, recipe=True)
    if columns[column] is None:
        raise BadRow(f"nothing stands in `{column}`, which `rows.{key}` names")
    return columns[column]


def _prompt(wanted: Mapping[str, Any], own: list[Message], columns: Mapping[str, Any]) -> list[Message]:
    """The messages of the prompt: `rows.system` and `rows.prompt` laid over the row's own."""
    systems = [message["content"] for message in own if message["role"] == "system"]
    talk = [message for message in own if message["role"] != "system"]
    if "system" in wanted:
        systems.insert(0, str(wanted["system"]))
    if "prompt" in wanted:
        talk = [{"role": "user", "content": fill(wanted["prompt"], columns, "prompt")}]
    if not talk or talk[-1]["role"] not in ("user", "tool") or not talk[-1]["content"].strip():
        raise BadRow("it has no question", "the prompt must end with a turn of the user that holds text")
    # Chat templates take one system message at most, so several become one.
    system = "\n\n".join(text for text in systems if text.strip())
    return [{"role": "system", "content": system}, *talk] if system else talk


def _truth(
    wanted: Mapping[str, Any], row: Mapping[str, Any], columns: Mapping[str, Any], answer: str | None
) -> Any:
    """The ground truth, from the first place that has one."""
    if "ground_truth" in wanted:
        return _column(wanted["ground_truth"], columns, "ground_truth")
    given = row.get("reward_model")
    if isinstance(given, Mapping) and "ground_truth" in given:
        if given["ground_truth"] is None:
            raise BadRow("nothing stands in `reward_model.ground_truth`", _TRUTH)
        return given["ground_truth"]
    for column in TRUTH_COLUMNS:
        if columns.get(column) is not None:
            return columns[column]
    if answer is not None:
        return answer
    raise BadRow("it has no ground truth", f"{_TRUTH}; the row has {', '.join(list(columns)[:12])}")


_TRUTH = "name its column: `rows: {ground_truth: …}`"


def _own(
    row: Mapping[str, Any], entry: Mapping[str, Any], *, needed: bool
) -> tuple[list[Message], str | None]:
    """The row's own prompt, and its own answer where it has one.

    Args:
        row: The row.
        entry: Its entry of dataset_info.json.
        needed: False where the recipe writes the prompt, so that a row need not have one.
    """
    named: Mapping[str, Any] = entry.get("columns") or {}
    if isinstance(row.get("prompt"), list) and "prompt" not in named:
        return _split(_turns(row["prompt"], {}), answers=False)
    column = named.get("messages") or next((c for c in ("messages", "conversations") if c in row), None)
    if column is not None and (entry.get("formatting") == "sharegpt" or isinstance(row.get(column), list)):
        messages = _turns(row.get(column), entry.get("tags") or {})
        system = _text(row, named.get("system", "system"))
        if system and messages and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": system})
        return _split(messages, answers=True)
    places = {role: named.get(role, default) for role, default in _ALPACA.items()}
    if places["prompt"] not in row:
        if not needed:
            return [], _text(row, places["response"]) or None
        if isinstance(row.get("prompt"), str):
            hint = 'make a message of it: `rows: {prompt: "{prompt}"}`'
            raise BadRow("its `prompt` is a text, and not a list of messages", hint)
        hint = 'write the prompt from its columns: `rows: {prompt: "{question}"}`; it has '
        raise BadRow("it has no prompt", hint + ", ".join(list(row)[:12]))
    messages = []
    if system := _text(row, places["system"]):
        messages.append({"role": "system", "content": system})
    for pair in row.get(places["history"]) or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRow(f"`{places['history']}` is not a list of pairs")
        asked, said = pair
        messages += [{"role": "user", "content": str(asked)}, {"role": "assistant", "content": str(said)}]
    parts = (_text(row, places["prompt"]), _text(row, places["query"]))
    messages.append({"role": "user", "content": "\n".join(part for part in parts if part)})
    return messages, _text(row, places["response"]) or None


_ALPACA = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "system": "system",
    "history": "history",
}


def _turns(turns: object, tags: Mapping[str, Any]) -> list[Message]:
    """A list of turns as {role, content}, named as the entry's `tags` say."""
    if not isinstance(turns, list | tuple):
        raise BadRow("its messages are not a list")
    roles = dict(_ROLES)
    roles.update({str(tags[tag]): role for tag, role in _TAGS.items() if tags.get(tag)})
    found: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise BadRow("a message is not an object")
        said = turn.get(tags.get("role_tag") or ("role" if "role" in turn else "from"))
        content = turn.get(tags.get("content_tag") or ("content" if "content" in turn else "value"))
        role = roles.get(str(said))
        if role is None:
            raise BadRow(f"a message has the role {said!r}", f"known are {', '.join(sorted(roles))}")
        if isinstance(content, list):  # parts, as some services write them
            if any(not isinstance(part, Mapping) or part.get("type") != "text" for part in content):
                raise BadRow("a message holds other than text")
            content = "".join(str(part.get("text", "")) for part in content)
        if not isinstance(content, str):
            raise BadRow("a message holds no text")
        found.append({"role": role, "content": content})
    return found


def _split(messages: list[Message], *, answers: bool) -> tuple[list[Message], str | None]:
    """The prompt, and the last turn of the assistant as the row's own answer."""
    if answers and messages and messages[-1]["role"] == "assistant":
        return messages[:-1], messages[-1]["content"] or None
    return messages, None


def _text(row: Mapping[str, Any], column: str) -> str:
    """The text in a column, "" when there is none."""
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(f"`{column}` is not text")
    return value


def _refuse_dropped(file: Path, report: Report) -> None:
    """A row that cannot be read ends it: what is trained on must be what was meant."""
    for reason, examples in report.examples.items():
        raise StageFailed(f"{examples[0] if examples else file}: a row is {reason}", f"mend {file}")


def _explained(error: BadRow, file: Path, place: int) -> ResidencyError:
    kind = RecipeInvalid if error.recipe else StageFailed
    return kind(f"{file}, row {place + 1}: {error}", error.hint)
