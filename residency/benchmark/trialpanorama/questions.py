"""TrialPanorama's rows as questions: what is asked, and the gold answer that scores compare with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from residency.benchmark.ranking import pmid, pmids
from residency.benchmark.trialpanorama.answers import DECISIONS, OUTCOMES, plain


class BadRow(ValueError):
    """A row that is no question; says why."""


class Question(NamedTuple):
    """One question."""

    id: str
    instruction: str
    input: str
    output: str
    """A right answer, in the form that is asked for. For study search it names the PMIDs themselves."""
    gold: Any


SYSTEM = "You are an expert in systematic reviews and the design of clinical trials."

_SEARCH = (
    "Write a query in PubMed's search language that finds the clinical trials which this systematic review "
    'should include. Answer with JSON alone: {"query": "…"}'
)
_SIZE = (
    "Estimate the number of participants that this trial needs. "
    'Answer with JSON alone: {"step_by_step_thinking": "…", "sample_size_needed": number}'
)
_CHOICE = (
    "Choose the one option that is right. "
    'Answer with JSON alone: {"step_by_step_thinking": "…", "answer_choice": "letter"}'
)
_SCREEN = (
    "Decide for each study below whether the systematic review should include it. Answer with JSON alone: "
    '{"results": [{"PMID": "12345678", "decision": "included"}, '
    '{"PMID": "23456789", "decision": "excluded"}]}'
)
_OUTCOME = (
    "Predict whether this trial was completed or terminated early, and in that case why: enrollment issues, "
    "feasibility, lack of efficacy, regulatory/approval or safety issues. Answer with JSON alone: "
    '{"outcome": "complete"} or {"outcome": "terminate", "termination_reason": "…"}'
)


def study_search(row: Mapping[str, Any]) -> Question:
    """A review's objectives; gold: the PMIDs of the trials that it includes."""
    relevant = pmids(_labels(row))
    if not relevant:
        raise BadRow("no PMIDs under `labels`")
    review = _mapping(row, "metadata").get("review_pmid")
    text = _sections(_mapping(row, "inputs"))
    output = json.dumps({"query": " OR ".join(f"{one}[uid]" for one in relevant)})
    return Question(_name(row, review), _SEARCH, text, output, {"relevant": relevant})


def sample_size(row: Mapping[str, Any]) -> Question:
    """A trial's design; gold: its number of participants."""
    try:
        answer = float(str(row.get("answer")).replace(",", ""))
    except ValueError:
        answer = math.nan
    if not math.isfinite(answer) or answer <= 0:
        raise BadRow("no number above 0 under `answer`")
    whole = int(answer) if answer.is_integer() else answer
    name = row.get("id") or row.get("trial_id") or row.get("pmid")
    output = f'{{"sample_size_needed": {whole}}}'
    return Question(_name(row, name), f"{_text(row, 'question')}\n{_SIZE}", "", output, {"target": whole})


def choice(row: Mapping[str, Any]) -> Question:
    """A question with options; gold: the letter. Arm design, eligibility, endpoints, evidence."""
    options = row.get("options")
    if isinstance(options, list):
        options = {chr(ord("A") + place): text for place, text in enumerate(options[:26])}
    if not isinstance(options, Mapping) or len(options) < 2:
        raise BadRow("fewer than two options")
    known = {
        str(key).strip().upper(): " ".join(str(text).split())
        for key, text in options.items()
        if text is not None
    }
    answer = str(row.get("answer") or "").strip().upper()
    if answer not in known:
        raise BadRow(f"its answer {row.get('answer')!r:.40} is none of the options {', '.join(known)}")
    listed = "\n".join(f"{letter}. {text}" for letter, text in known.items())
    asked = f"{_text(row, 'question')}\n{listed}\n{_CHOICE}"
    output = f'{{"answer_choice": "{answer}"}}'
    return Question(_name(row, None), asked, "", output, {"answer": answer, "options": known})


def screening(row: Mapping[str, Any]) -> Question:
    """A review and candidate studies; gold: PMID → included or excluded."""
    labels = row.get("labels")
    gold: dict[str, str] = {}
    for item in labels if isinstance(labels, list) else []:
        study = pmid(item.get("PMID")) if isinstance(item, Mapping) else None
        decision = DECISIONS.get(str(item.get("label")).strip().casefold()) if study is not None else None
        if study is None or decision is None:
            raise BadRow("an entry of `labels` has no PMID, or neither included nor excluded")
        if gold.setdefault(str(study), decision) != decision:
            raise BadRow(f"PMID {study} is both included and excluded")
    if not gold:
        raise BadRow("no `labels`")
    shown, seen = [], set()
    for item in row.get("context") or []:
        study = pmid(item.get("PMID")) if isinstance(item, Mapping) else None
        if str(study) in gold and study not in seen:
            seen.add(study)
            shown.append(f"PMID {study}: {item.get('title') or ''}\n{item.get('abstract') or ''}".strip())
    if len(seen) < len(gold):
        raise BadRow(f"{len(gold) - len(seen)} of its {len(gold)} labelled studies are not under `context`")
    name = _mapping(row, "metadata")
    text = "\n\n".join([_sections(_mapping(row, "inputs")), *shown])
    output = json.dumps({"results": [{"PMID": study, "decision": label} for study, label in gold.items()]})
    return Question(
        _name(row, name.get("review_pmid") or name.get("PMID")), _SCREEN, text, output, {"labels": gold}
    )


def completion(row: Mapping[str, Any]) -> Question:
    """A trial's record; gold: its outcome, and why it was terminated."""
    labels = _mapping(row, "labels")
    outcome = OUTCOMES.get(str(labels.get("outcome")).strip().casefold())
    if outcome is None:
        raise BadRow(f"its outcome {labels.get('outcome')!r:.40} is neither complete nor terminate")
    reason = labels.get("terminate_type") if outcome == "terminate" else None
    kind = plain(reason) if isinstance(reason, str) else None
    parts = [_sections(_mapping(row, "inputs"))]
    for item in row.get("context") or []:
        if isinstance(item, Mapping):
            parts += [f"{key}: {text}" for key, text in _flat(item) if key != "type"]
    said = f', "termination_reason": "{kind}"' if kind else ""
    output = f'{{"outcome": "{outcome}"{said}}}'
    name = _mapping(row, "metadata").get("study_nctid")
    gold = {"outcome": outcome, "type": kind or None}
    return Question(_name(row, name), _OUTCOME, "\n".join(filter(None, parts)), output, gold)


TASKS: dict[str, Callable[[Mapping[str, Any]], Question]] = {
    "study_search": study_search,
    "sample_size": sample_size,
    "choice": choice,
    "screening": screening,
    "completion": completion,
}


def _labels(row: Mapping[str, Any]) -> Any:
    labels = row.get("labels")
    return (
        [one.get("PMID") if isinstance(one, Mapping) else one for one in labels]
        if isinstance(labels, list)
        else labels
    )


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"no `{key}`")
    return value.strip()


def _name(row: Mapping[str, Any], other: Any) -> str:
    """The row's id, another name that it has, or ""."""
    for value in (row.get("id"), other):
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def _sections(inputs: Mapping[str, Any]) -> str:
    """Every field that is set, one a paragraph."""
    found = [f"{key.replace('_', ' ').capitalize()}: {text}" for key, text in _flat(inputs)]
    if not found:
        raise BadRow("nothing under `inputs`")
    return "\n".join(found)


def _flat(value: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and depth < 5:
            yield from _flat(item, depth + 1)
        elif isinstance(item, list):
            for one in item:
                if isinstance(one, Mapping) and depth < 5:
                    yield from _flat(one, depth + 1)
                elif one is not None:
                    yield str(key), " ".join(str(one).split())
        elif item is not None and str(item).strip():
            # ClinicalTrials.gov's older exports have ~ for a line's end.
            whole = isinstance(item, float) and item.is_integer()
            yield str(key), " ".join(str(int(item) if whole else item).replace("~", " ").split())
