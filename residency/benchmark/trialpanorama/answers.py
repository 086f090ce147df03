"""What a model's answer says: the JSON that was asked for, a letter, a number, decisions about studies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from residency.benchmark.ranking import pmid
from residency.engines.lm_eval.answers import Mode, within_tag
from rewards import multiple_choice, sample_size

_FENCE = re.compile(r"```(?:json)?[ \t]*\n?(.*?)```", re.DOTALL | re.IGNORECASE)
_LONGEST = 200_000
"""Characters of an answer that are looked at for JSON."""
_TRIES = 200
"""Opening braces that are tried as the beginning of an object."""
DECISIONS = {"included": "included", "include": "included", "excluded": "excluded", "exclude": "excluded"}
OUTCOMES = {
    "complete": "complete",
    "completed": "complete",
    "terminate": "terminate",
    "terminated": "terminate",
}


def json_value(text: str, mode: Mode = "strict") -> Any:
    """The JSON object or list that an answer holds, or None."""
    text = text[:_LONGEST]
    blocks = [match[1] for match in _FENCE.finditer(text)]
    places = [text, *(blocks if len(blocks) == 1 else []), within_tag(text) or ""]
    for place in places:
        found = _parsed(place)
        if found is not None:
            return found
    return _anywhere(text) if mode == "lenient" else None


def _parsed(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _anywhere(text: str) -> dict[str, Any] | None:
    """The last JSON object within a text."""
    decode = json.JSONDecoder().raw_decode
    found, at, failed = None, text.find("{"), 0
    while at >= 0 and failed < _TRIES:
        try:
            found, end = decode(text, at)
        except (ValueError, RecursionError):
            end, failed = at + 1, failed + 1
        at = text.find("{", end)
    return found


def field(text: str, key: str, mode: Mode = "strict") -> Any:
    """The value under a key of the answer's JSON object, whatever the key's case; None without one."""
    found = json_value(text, mode)
    if not isinstance(found, dict):
        return None
    same = [value for name, value in found.items() if str(name).strip().casefold() == key.casefold()]
    return same[0] if len(same) == 1 else None


def letter(text: str, options: Mapping[str, str], mode: Mode = "strict") -> str | None:
    """The option that an answer chooses: by `answer_choice`, or in lenient mode by the tag or the whole.

    `B`, `(B)`, `B. aspirin` and the option's text are read as the reward does
    (`rewards.multiple_choice.answer`).
    """
    said = field(text, "answer_choice", mode)
    if said is None and mode == "lenient":
        said = within_tag(text, mode=mode) or text
    return _chosen(said, options) if isinstance(said, str) else None


def _chosen(said: str, options: Mapping[str, str]) -> str | None:
    for one in options:
        if multiple_choice.answer("", said, {"answer": one, "options": dict(options)}, tag=None):
            return one
    return None


def number(text: str, mode: Mode = "strict") -> float | None:
    """The sample size that an answer gives: `sample_size_needed`, or the one number in its answer tag.

    Lenient: also the one number in an answer without either. Several numbers are none.
    """
    said = field(text, "sample_size_needed", mode)
    if isinstance(said, int | float) and not isinstance(said, bool):
        said = repr(said)
    if not isinstance(said, str):
        said = within_tag(text, mode=mode)
        if said is None and mode == "lenient" and json_value(text, mode) is None:
            said = text
    return None if said is None else sample_size.number(said)


def query(text: str, mode: Mode = "strict") -> str | None:
    """The search query of an answer: `query`, or what stands in its answer tag as plain text.

    Lenient: also the whole of a short answer without either.
    """
    said = field(text, "query", mode)
    if said is None:
        inside = within_tag(text, mode=mode)
        if inside is not None and _parsed(inside) is None:
            said = inside
        elif (
            inside is None
            and mode == "lenient"
            and json_value(text, mode) is None
            and "\n" not in text.strip()
        ):
            said = text
    return " ".join(said.split()) or None if isinstance(said, str) else None


def decisions(text: str, mode: Mode = "strict") -> dict[int, str]:
    """PMID → included or excluded, from the list under `results` or a bare list.

    A study about which an answer says both has no decision.
    """
    found = json_value(text, mode)
    if isinstance(found, dict):
        found = found.get("results") if "results" in found else [found]
    said: dict[int, set[str]] = {}
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict):
            plain = {str(key).strip().casefold(): value for key, value in item.items()}
            study = pmid(plain.get("pmid"))
            decision = DECISIONS.get(str(plain.get("decision", plain.get("label"))).strip().casefold())
            if study is not None and decision is not None:
                said.setdefault(study, set()).add(decision)
    return {study: one.pop() for study, one in said.items() if len(one) == 1}


def outcome(text: str, mode: Mode = "strict") -> tuple[str | None, str | None]:
    """complete or terminate, and the reason to terminate; None for what is not said."""
    said = field(text, "outcome", mode)
    if said is None and mode == "lenient":
        said = within_tag(text, mode=mode) or text
    found = OUTCOMES.get(said.strip(" \t\r\n.\"'*").casefold()) if isinstance(said, str) else None
    reason = field(text, "termination_reason", mode)
    if reason is None:
        reason = field(text, "terminate_type", mode)
    given = plain(reason) if found == "terminate" and isinstance(reason, str) else None
    return found, given or None


def plain(text: str) -> str:
    """A class's name for comparison: lower case, single spaces, `_` as a space."""
    return " ".join(text.replace("_", " ").split()).casefold()
