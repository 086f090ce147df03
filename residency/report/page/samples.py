"""Sample answers of all evaluations side by side, by question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from residency.report import wording
from residency.report.markup import Markup, tag
from residency.report.model import RunRecord
from residency.report.page.tables import folded
from residency.report.scores import Sample

MOST = 200
"""Questions on the page; samples.jsonl holds all."""
LONG = 280
"""Characters from which a prompt is folded."""

FILTERS = (
    ("all", "All"),
    ("changed", "Changed"),
    ("gained", "Became right"),
    ("lost", "Became wrong"),
    ("right", "Right"),
    ("wrong", "Wrong"),
    ("unreadable", "Unreadable"),
)


@dataclass(slots=True)
class Question:
    """One question with the answer of each evaluation that asked it, by stage."""

    task: str
    id: str
    prompt: str
    target: str
    answers: dict[str, Sample]

    @property
    def marks(self) -> list[str]:
        """The filters that it falls under: by its last answer, and by how that differs from earlier ones."""
        *earlier, last = self.answers.values()
        marks = [] if last.correct is None else ["right" if last.correct else "wrong"]
        if last.unreadable:
            marks.append("unreadable")
        if last.correct is not None and any(one.correct is (not last.correct) for one in earlier):
            marks += ["changed", "gained" if last.correct else "lost"]
        return marks


def questions(record: RunRecord) -> list[Question]:
    """The questions of all evaluations; the same id with another target is another question."""
    found: dict[tuple[str, str, str], Question] = {}
    for stage in record.evaluations:
        for answer in stage.samples:
            key = (answer.task, answer.id, answer.target)
            one = found.setdefault(key, Question(answer.task, answer.id, answer.prompt, answer.target, {}))
            one.answers.setdefault(stage.name, answer)
    return list(found.values())


def chosen(every: list[Question], most: int = MOST) -> list[Question]:
    """At most so many: first those that became wrong, are unreadable or wrong, then those that changed."""
    if len(every) <= most:
        return every

    def rank(question: Question) -> int:
        marks = question.marks
        return next(
            (i for i, mark in enumerate(("lost", "unreadable", "wrong", "gained")) if mark in marks), 4
        )

    kept = {id(q) for q in sorted(every, key=rank)[:most]}
    return [q for q in every if id(q) in kept]


def section(record: RunRecord) -> Markup | None:
    """The samples with their filters."""
    every = questions(record)
    if not every:
        return None
    shown = chosen(every)
    shared = {
        task: shared_start([q.prompt for q in every if q.task == task]) for task in {q.task for q in every}
    }
    return tag(
        "section",
        tag("h2", "Sample answers"),
        tag("p", _said(shown, every), class_="quiet"),
        _controls(shown),
        tag("div", [_article(q, shared.get(q.task, 0)) for q in shown], class_="samples"),
        tag("button", "Show more", type="button", class_="more", hidden=True),
        id="samples",
    )


def _said(shown: list[Question], every: list[Question]) -> str:
    if len(shown) == len(every):
        return f"All {wording.plural(len(every), 'question')}."
    return (
        f"{len(shown):,} of {len(every):,} questions, those answered wrongly or changed first: they are no "
        "fair sample. The stages' samples.jsonl hold all."
    )


def _controls(shown: list[Question]) -> Markup:
    marks = [q.marks for q in shown]
    counts = {key: sum(key in m for m in marks) for key, _ in FILTERS} | {"all": len(shown)}
    buttons = [
        tag(
            "button",
            f"{title} ",
            tag("span", counts[key], class_="count"),
            type="button",
            data_filter=key,
            aria_pressed="true" if key == "all" else "false",
        )
        for key, title in FILTERS
        if counts[key]
    ]
    tasks = list(dict.fromkeys(q.task for q in shown))
    choice = None
    if len(tasks) > 1:
        options = [tag("option", "every task", value=""), *(tag("option", t, value=t) for t in tasks)]
        choice = tag("select", options, aria_label="Task", class_="task")
    return tag(
        "div",
        tag("div", buttons, class_="filters", role="group", aria_label="Show"),
        tag(
            "div", choice, tag("input", type="search", placeholder="Search", aria_label="Search the samples")
        ),
        tag("p", class_="found quiet small", role="status"),
        class_="controls",
        hidden=True,
    )


def _article(question: Question, shared: int) -> Markup:
    prompts = {answer.prompt for answer in question.answers.values()}
    return tag(
        "article",
        tag(
            "header",
            tag("span", question.task, class_="task-name"),
            tag("span", f" {question.id}", class_="quiet"),
            tag("span", "wanted ", tag("b", question.target), class_="wanted"),
        ),
        _prompt(question.prompt, shared),
        tag("div", [_answer(s, a, len(prompts) > 1) for s, a in question.answers.items()], class_="answers"),
        class_="sample",
        data_marks=" ".join(question.marks),
        data_task=question.task,
    )


def shared_start(prompts: list[str]) -> int:
    """How many characters all prompts begin with: instructions, which tell no question from another."""
    if len(prompts) < 2:
        return 0
    # What the first and the last in alphabetical order share, all share.
    first, last = min(prompts), max(prompts)
    start = first[
        : next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    ]
    # A whole line or sentence at least, so that no question loses its first words.
    ends = [match.end() for match in re.finditer(r"[\n.:?!>]\s*", start)]
    return ends[-1] if ends and ends[-1] >= 20 else 0


def _prompt(prompt: str, shared: int) -> Markup:
    shown = wording.clean(prompt)
    if len(shown) <= LONG:
        return tag("pre", shown, class_="prompt")
    own = re.sub(r"<\|[^|>]*\|>", " ", wording.clean(prompt[shared : shared + LONG]))
    start = " ".join(own.split())[:150].rsplit(" ", 1)[0]
    return folded([tag("span", f"{start} …", class_="start")], tag("pre", shown, class_="prompt"))


def _lenient(answer: Sample) -> Markup | None:
    """What the lenient reading makes of an answer, where it differs from the strict one."""
    if answer.lenient is None or (
        answer.lenient == answer.correct and answer.extracted_lenient == answer.extracted
    ):
        return None
    read = tag("b", answer.extracted_lenient or "nothing")
    judged = "right" if answer.lenient else "wrong"
    return tag("p", "read leniently as ", read, f", {judged}", class_="quiet small")


def _answer(stage: str, answer: Sample, own_prompt: bool) -> Markup:
    state = {True: "right", False: "wrong", None: "answered"}[answer.correct]
    if answer.unreadable:
        state = "unreadable"
    output = wording.clean(answer.output)
    long = len(output) > 3 * LONG
    body = tag("pre", output or "(nothing)", class_=None if output else "quiet")
    return tag(
        "div",
        tag(
            "div",
            tag("span", stage, class_="stage-name"),
            tag("span", state, class_=f"state {state}"),
            class_="answer-head",
        ),
        folded(f"{output[: LONG // 2]} …", body) if long else body,
        tag("p", "read as ", tag("b", answer.extracted), class_="quiet small") if answer.extracted else None,
        _lenient(answer),
        folded("its prompt", tag("pre", wording.clean(answer.prompt))) if own_prompt else None,
        class_=f"answer {state}",
    )
