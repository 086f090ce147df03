"""The scores of a batch, by the rules of an edition of the challenge."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import isfinite, log, nan
from typing import Any, Literal

import numpy as np

from residency.benchmark import figures as scoring
from residency.benchmark.bioasq import exact, retrieved
from residency.benchmark.bioasq.read import Batch, Question
from residency.benchmark.bioasq.retrieved import EPSILON, Retrieved
from residency.benchmark.figures import Array, divided, ratio
from residency.benchmark.problems import Problems
from residency.benchmark.scored import Scored
from residency.errors import RecipeInvalid

Phase = Literal["a", "b"]
EDITIONS = (5, 8, 9)
"""As the evaluator's option `-e`: 5 (BioASQ 5 to 7), 8 (from BioASQ 8) and 9, which leaves out
questions without gold items."""
EDITION = 8
# Where there is nothing to score the evaluator says 0.
figure = partial(scoring.figure, empty=0.0)
KINDS = ("concepts", "documents", "snippets", "triples")


def score(gold: Batch, system: Batch, phase: Phase, *, edition: int = EDITION, seed: int = 0) -> Scored:
    """Score a system's batch against the gold one.

    Raises:
        RecipeInvalid: The two have no question in common, or there is no such edition.
    """
    if edition not in EDITIONS:
        raise RecipeInvalid(f"there is no edition {edition}", f"editions are {', '.join(map(str, EDITIONS))}")
    problems = Problems()
    problems.merge(gold.problems, "gold: ")
    problems.merge(system.problems, "system: ")
    if not gold.questions.keys() & system.questions.keys():
        raise RecipeInvalid(
            f"no question of {gold.name} is in {system.name}",
            "the gold file comes first; are both of the same batch?",
        )
    for name in system.questions.keys() - gold.questions.keys():
        problems.add("system: a question that is not in the gold file; left out", name)
    work = phase_a if phase == "a" else phase_b
    return work(gold, system, edition, seed, problems)


def phase_b(gold: Batch, system: Batch, edition: int, seed: int, problems: Problems) -> Scored:
    """Exact answers. A question that the system leaves out is wrong (edition 9: left out)."""
    rows = list(_answered(gold, system, edition, problems))
    yesno = [row for row in rows if row["type"] == "yesno"]
    pairs = [(row["gold"], row["said"]) for row in yesno]
    factoid = [row for row in rows if row["type"] == "factoid"]
    listed = [row for row in rows if row["type"] == "list"]
    yes, no = (np.array(exact.f1_parts(pairs, label)).reshape(-1, 2) for label in ("yes", "no"))
    figures = [figure("yesno_accuracy", [row["accuracy"] for row in yesno], seed=seed)]
    for name, key in (("strict_accuracy", "strict"), ("lenient_accuracy", "lenient"), ("mrr", "mrr")):
        figures.append(figure(f"factoid_{name}", [row[key] for row in factoid], seed=seed))
    for key in ("precision", "recall", "f1"):
        figures.append(figure(f"list_{key}", [row[key] for row in listed], seed=seed))
    figures += [
        figure("yesno_macro_f1", np.hstack([yes, no]), macro, seed=seed),
        figure("yesno_f1_yes", yes, ratio, seed=seed),
        figure("yesno_f1_no", no, ratio, seed=seed),
    ]
    return Scored(figures, rows, problems)


def macro(sums: Array, n: int) -> Array:
    """The mean of two F1s from the sums of their parts."""
    return (divided(sums[:, 0], sums[:, 1]) + divided(sums[:, 2], sums[:, 3])) / 2


def _answered(gold: Batch, system: Batch, edition: int, problems: Problems) -> Iterator[dict[str, Any]]:
    for name, question in gold.questions.items():
        if question.type is None:
            problems.add("gold: no type; not scored in phase B", name)
            continue
        if question.type == "summary":
            continue
        wanted = question.said if question.type == "yesno" else question.answers
        if wanted is None:
            problems.add(f"gold: no exact answer to a {question.type} question; not scored", name)
            continue
        if not wanted:
            problems.add("gold: an empty exact answer, which no answer equals", name)
            if edition >= 9:
                continue
        reply = system.questions.get(name)
        if reply is None:
            kept = "left out, as in this edition" if edition >= 9 else "scored 0"
            problems.add(f"system: no answer to a gold question; {kept}", name)
            if edition >= 9:
                continue
        yield {"id": name, "type": question.type} | _scored(question, reply, problems)


def _scored(gold: Question, reply: Question | None, problems: Problems) -> dict[str, Any]:
    """One question's own scores; a missing answer has 0 in each."""
    said = reply.said if reply else None
    answers = reply.answers if reply else None
    if reply is not None:
        _look(gold, reply, problems)
    if gold.type == "yesno":
        return {"gold": gold.said, "said": said, "accuracy": float(said == gold.said)}
    if gold.type == "factoid":
        return exact.factoid(gold.answers, answers)._asdict()
    return exact.items(gold.answers, answers)._asdict()


def _look(gold: Question, reply: Question, problems: Problems) -> None:
    """Say what is odd about a reply."""
    if reply.text is None and reply.answers is None:
        problems.add("system: a question without exact_answer; scored 0", gold.id)
    elif gold.type == "yesno" and reply.text is None:
        problems.add("system: a list where yes or no should be; scored 0", gold.id)
    elif gold.type == "yesno" and reply.said == "none":
        problems.add("system: neither yes nor no; scored 0", gold.id)
    elif gold.type != "yesno" and reply.answers is None:
        problems.add("system: a text where a list should be; scored 0", gold.id)
    elif gold.type == "factoid" and len(reply.answers or ()) > exact.FACTOID_ANSWERS:
        problems.add("system: more than 5 answers to a factoid; all are read, as officially", gold.id)


def phase_a(gold: Batch, system: Batch, edition: int, seed: int, problems: Problems) -> Scored:
    """Documents, snippets, concepts and triples.

    A question that the system leaves out is left out of the means, in every edition. Concepts
    count where gold and system both have some, triples where gold has. A batch without any scores 0.
    """
    rows = []
    for name, question in gold.questions.items():
        reply = system.questions.get(name)
        if reply is None:
            problems.add("system: no answer to a gold question; left out, as officially", name)
            continue
        for kind in ("documents", "snippets"):
            if len(getattr(reply, kind)) > retrieved.MOST:
                problems.add(f"system: more than 10 {kind}; all are read, as officially", name)
        row: dict[str, Any] = {"id": name, "type": question.type}
        rows.append(row | _retrieved(question, reply, edition))
    figures = []
    for kind in KINDS:
        found: list[Retrieved] = [row[kind] for row in rows if kind in row]
        for key in ("precision", "recall", "f1"):
            figures.append(figure(f"{kind}_{key}", [getattr(one, key) for one in found], seed=seed))
        average = [one.average_precision for one in found]
        figures.append(figure(f"{kind}_map", [one if isfinite(one) else 0.0 for one in average], seed=seed))
        # Without gold snippets there is no average precision; its logarithm counts as 0, as officially.
        logs = [_log(one + EPSILON) if isfinite(one) else 0.0 for one in average]
        figures.append(
            figure(f"{kind}_gmap", logs, _geometric_snippets if kind == "snippets" else _geometric)
        )
    for row in rows:
        row |= {kind: _plain(row[kind]) for kind in KINDS if kind in row}
    return Scored(figures, rows, problems)


def _plain(found: Retrieved) -> dict[str, float | None]:
    """The scores of one question; None for what is no number."""
    return {key: value if isfinite(value) else None for key, value in found._asdict().items()}


def _geometric(sums: Array, n: int) -> Array:
    return np.exp(sums[:, 0] / n)


def _geometric_snippets(sums: Array, n: int) -> Array:
    """As `_geometric`; but a sum of exactly 0, or none, gives 0, as officially."""
    return np.where((sums[:, 0] == 0) | np.isnan(sums[:, 0]), 0.0, np.exp(sums[:, 0] / n))


def _log(value: float) -> float:
    """NaN below 0, which snippets that end before they begin can give."""
    return log(value) if value > 0 else nan


def _retrieved(gold: Question, reply: Question, edition: int) -> dict[str, Retrieved]:
    """Each kind of item that is scored for this question.

    The evaluator goes over the questions twice, for documents and for snippets, and the second
    time over what the first left: snippets joined once more, and only those triples that are right.
    """
    first = edition < 9 or bool(gold.documents)
    second = edition < 9 or bool(gold.snippets)
    found = {}
    if first:
        found["documents"] = retrieved.ranked(gold.documents, reply.documents, edition)
        if gold.concepts and reply.concepts:
            found["concepts"] = retrieved.ranked(gold.concepts, reply.concepts, edition)
    if second:
        wanted, given = retrieved.merged(gold.snippets), retrieved.merged(reply.snippets)
        if first:
            wanted, given = retrieved.merged(wanted), retrieved.merged(given)
        found["snippets"] = retrieved.passages(wanted, given, edition)
        if gold.triples:
            right = set(gold.triples)
            kept = [one for one in reply.triples if one in right or not first]
            found["triples"] = retrieved.ranked(gold.triples, kept, edition)
    return found
