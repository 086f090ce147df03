"""Yes/no questions about studies, answered by the headings that NLM's indexers gave them.

Indexers read each article and mark, with MeSH check tags and publication types, whether the
subjects were human, which age groups and sexes there were, whether it is a case report, and so
on. The model sees the title and the abstract alone; the headings set the answer.
Check tags: NLM, "Check Tags", MEDLINE indexing manual; they are required wherever they apply,
so that a tag's absence from a fully indexed record says no.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from residency.errors import RecipeInvalid
from residency.processing import Allowed, Positive, Report, Row, gives
from residency.recipe.suggest import closest

Tags = frozenset[str]
Label = Literal["yes", "no"]

CHILD = frozenset({"Infant, Newborn", "Infant", "Child, Preschool", "Child"})
ADULT = frozenset({"Young Adult", "Adult", "Middle Aged", "Aged", "Aged, 80 and over"})
OLD = frozenset({"Aged", "Aged, 80 and over"})
AGES = CHILD | ADULT | {"Adolescent"}
TRIAL = frozenset(
    {
        "Clinical Trial",
        "Controlled Clinical Trial",
        "Randomized Controlled Trial",
        "Pragmatic Clinical Trial",
        "Equivalence Trial",
        "Adaptive Clinical Trial",
        "Clinical Trial, Phase I",
        "Clinical Trial, Phase II",
        "Clinical Trial, Phase III",
        "Clinical Trial, Phase IV",
    }
)
REVIEW = frozenset({"Review", "Systematic Review", "Scoping Review", "Meta-Analysis"})
# Publication types that report no study of their own; questions about subjects make no sense there.
NO_STUDY = frozenset({"Editorial", "Letter", "Comment", "News", "Biography", "Published Erratum"})

INDEXED = "MEDLINE"
"""NLM's status of a citation whose indexing is complete."""

SYSTEM = "You read abstracts of biomedical studies and answer questions about them."
FORMAT = "Answer with exactly <answer>yes</answer> or <answer>no</answer>."


@dataclass(frozen=True, slots=True)
class Question:
    """One question: how it is worded, and which headings answer it."""

    wordings: tuple[str, ...]
    answer: Callable[[Tags, Tags], Label | None]
    """(MeSH descriptors, publication types) → the answer, or None where the headings do not tell."""


def _humans(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" in mesh:
        # Both tags: animals and people, or human material in animals. Neither answer is plain.
        return None if "Animals" in mesh else "yes"
    return "no" if "Animals" in mesh else None


def _animals(mesh: Tags, types: Tags) -> Label | None:
    return {"yes": "no", "no": "yes", None: None}[_humans(mesh, types)]  # type: ignore[return-value]


def _case_report(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh:
        return None
    return "yes" if "Case Reports" in types else "no"


def _clinical_trial(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh or types & REVIEW:
        return None
    return "yes" if types & TRIAL else "no"


def _review(mesh: Tags, types: Tags) -> Label | None:
    return "yes" if types & REVIEW else "no"


def _females(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh or not mesh & {"Female", "Male"}:
        return None
    return "yes" if "Female" in mesh else "no"


def _males(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh or not mesh & {"Female", "Male"}:
        return None
    return "yes" if "Male" in mesh else "no"


def _children(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh or not mesh & AGES:
        return None
    return "yes" if mesh & CHILD else "no"


def _aged(mesh: Tags, types: Tags) -> Label | None:
    if "Humans" not in mesh or not mesh & AGES:
        return None
    return "yes" if mesh & OLD else "no"


def _pregnancy(mesh: Tags, types: Tags) -> Label | None:
    if "Female" not in mesh:
        return None
    return "yes" if "Pregnancy" in mesh else "no"


def _in_vitro(mesh: Tags, types: Tags) -> Label | None:
    if not mesh & {"Humans", "Animals"} or types & REVIEW:
        return None
    return "yes" if "In Vitro Techniques" in mesh else "no"


QUESTIONS: dict[str, Question] = {
    "humans": Question(
        (
            "Were the subjects of this study human?",
            "Was this study done on people?",
            "Did this study examine human subjects rather than animals?",
        ),
        _humans,
    ),
    "animals": Question(
        (
            "Were the subjects of this study animals and not people?",
            "Was this an animal study?",
            "Did this study examine animals only?",
        ),
        _animals,
    ),
    "case_report": Question(
        (
            "Is this a case report?",
            "Does this article report individual cases?",
            "Is this article a description of one or a few patients?",
        ),
        _case_report,
    ),
    "clinical_trial": Question(
        (
            "Is this a report of a clinical trial?",
            "Was a clinical trial carried out?",
            "Does this article report the results of a clinical trial?",
        ),
        _clinical_trial,
    ),
    "review": Question(
        (
            "Is this a review article?",
            "Does this article review earlier work rather than report a new study?",
            "Is this an overview of the literature?",
        ),
        _review,
    ),
    "females": Question(
        (
            "Were there women or girls among the subjects?",
            "Did this study include females?",
            "Was any subject of this study female?",
        ),
        _females,
    ),
    "males": Question(
        (
            "Were there men or boys among the subjects?",
            "Did this study include males?",
            "Was any subject of this study male?",
        ),
        _males,
    ),
    "children": Question(
        (
            "Were there children up to 12 years of age among the subjects?",
            "Did this study include infants or children?",
            "Was any subject of this study 12 years old or younger?",
        ),
        _children,
    ),
    "aged": Question(
        (
            "Were there people aged 65 or over among the subjects?",
            "Did this study include people of 65 years or more?",
            "Was any subject of this study at least 65 years old?",
        ),
        _aged,
    ),
    "pregnancy": Question(
        (
            "Were the subjects, or some of them, pregnant?",
            "Is this study about pregnancy?",
            "Did this study include pregnant subjects?",
        ),
        _pregnancy,
    ),
    "in_vitro": Question(
        (
            "Was the work done in vitro?",
            "Were experiments carried out on isolated tissue or cells?",
            "Did this study use in vitro techniques?",
        ),
        _in_vitro,
    ),
}


Name = Annotated[str, Allowed(enum=list(QUESTIONS))]
"""The name of a question."""
Wording = Annotated[int, Allowed(enum=[0, 1, 2])]
Several = Allowed(minItems=1)


@gives("system", "instruction", "input", "output", "pmid", "question_type", "label")
def make(
    rows: Iterator[Row],
    *,
    questions: Annotated[Sequence[Name], Several] = ("humans",),
    per_label: Positive = 250,
    words: Positive = 150,
    min_words: Annotated[int, Allowed(minimum=0)] = 20,
    wordings: Annotated[Sequence[Wording], Several] = (0, 1, 2),
    question_first: bool = False,
    title_only: bool = False,
    seed: int = 0,
    report: Report | None = None,
) -> Iterator[Row]:
    """Questions about PubMed records (`processors.pubmed.read`), as many yes as no for each.

    The sample is the same whatever the order of the records: a record's place in it depends on
    its PMID and the seed alone. At most `2 · per_label` records a question are held in memory.

    Args:
        rows: PubMed records; those without `status: MEDLINE` are left out, since only where the
            indexing is complete does a heading's absence say no.
        questions: Which of QUESTIONS to ask.
        per_label: So many yes and so many no for each question; fewer where there are not enough.
        words: The abstract is cut after so many words.
        min_words: Records with a shorter abstract are left out.
        wordings: Which of a question's wordings to use (0, 1, 2): hold one out to test with it.
        question_first: The question stands before the text; else after it.
        title_only: The text is the title alone, for a model that looks the abstract up.
        seed: Chooses the records and, for each, the wording.
        report: What was read, kept and dropped.

    Yields:
        Alpaca rows: system, instruction and input (title and abstract in one, the question in
        the other), output (`<answer>yes</answer>`), pmid, question_type, label.

    Raises:
        RecipeInvalid: A question or a wording that does not exist.
    """
    report = report or Report()
    _check(questions, wordings)
    samples = {
        (question, label): _Sample(per_label, f"{seed}:{question}")
        for question in questions
        for label in ("yes", "no")
    }
    for row in rows:
        report.read += 1
        reason = _unfit(row, min_words)
        if reason:
            report.drop(reason, row.get("pmid"))
            continue
        mesh = frozenset(heading["name"] for heading in row["mesh"])
        types = frozenset(kind["name"] for kind in row["publication_types"])
        answered = False
        for name in questions:
            label = QUESTIONS[name].answer(mesh, types)
            if label is not None:
                answered = True
                samples[name, label].offer(row["pmid"], row)
        if not answered:
            report.drop("its headings answer none of the questions", row["pmid"])
    shown = 0 if title_only else words
    yield from _balanced(samples, questions, shown, wordings, question_first, seed, report)


def _balanced(
    samples: dict[tuple[str, str], _Sample],
    questions: Sequence[str],
    words: int,
    wordings: Sequence[int],
    question_first: bool,
    seed: int,
    report: Report,
) -> Iterator[Row]:
    """As many yes as no for each question, in an order that the seed sets."""
    made: list[tuple[int, Row]] = []
    for name in questions:
        yes, no = samples[name, "yes"], samples[name, "no"]
        each = min(len(yes), len(no))
        report.notes[name] = {"yes": each, "no": each, "seen": {"yes": yes.seen, "no": no.seen}}
        for label, sample in (("yes", yes), ("no", no)):
            for row in sample.first(each):
                order = _hash(f"{seed}:order:{name}:{row['pmid']}")
                wording = QUESTIONS[name].wordings[wordings[order % len(wordings)]]
                made.append((order, _row(row, name, wording, label, words, question_first)))
    for _, row in sorted(made, key=lambda item: item[0]):
        report.kept += 1
        yield row


def _row(record: Row, question: str, wording: str, label: str, words: int, question_first: bool) -> Row:
    asked, text = f"{wording} {FORMAT}", prompt_text(record, words)
    return {
        "system": SYSTEM,
        "instruction": asked if question_first else text,
        "input": text if question_first else asked,
        "output": f"<answer>{label}</answer>",
        "pmid": record["pmid"],
        "question_type": question,
        "label": label,
    }


def prompt_text(record: Row, words: int) -> str:
    """Title and abstract, the abstract cut after so many words; the title alone without any."""
    if words <= 0:
        return f"Title: {record['title']}"
    found = record["abstract"].split()
    cut = " ".join(found[:words]) + (" …" if len(found) > words else "")
    return f"Title: {record['title']}\nAbstract: {cut}"


def _unfit(row: Row, min_words: int) -> str | None:
    """Why no question can be made of a record, or None."""
    if row.get("status") != INDEXED:
        # In process, or never to be indexed: what no heading says yet is no "no".
        return f"not indexed (status {row.get('status') or 'not known'})"
    if not row.get("mesh"):
        return "no MeSH headings"
    if not row.get("abstract"):
        return "no abstract"
    if len(row["abstract"].split()) < min_words:
        return f"an abstract of under {min_words} words"
    if any(kind["name"] in NO_STUDY for kind in row["publication_types"]):
        return "a letter, comment, editorial or the like"
    return None


def _check(questions: Sequence[str], wordings: Sequence[int]) -> None:
    for name in questions:
        if name not in QUESTIONS:
            guess = closest(name, QUESTIONS)
            hint = f"did you mean `{guess[0]}`? " if guess else ""
            raise RecipeInvalid(
                f"there is no study question `{name}`", hint + "there are: " + ", ".join(QUESTIONS)
            )
    most = min(len(QUESTIONS[name].wordings) for name in questions) if questions else 0
    if not questions or not wordings or any(not 0 <= index < most for index in wordings):
        raise RecipeInvalid("name at least one question, and wordings among 0, 1 and 2")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class _Sample:
    """The `size` records with the smallest hashes of their PMIDs: a sample that no order changes."""

    def __init__(self, size: int, salt: str) -> None:
        self._size = size
        self._salt = salt
        self._heap: list[tuple[int, str]] = []  # negated hashes: the largest kept is on top
        self._rows: dict[str, Row] = {}
        self.seen = 0

    def __len__(self) -> int:
        return len(self._rows)

    def offer(self, pmid: str, row: Row) -> None:
        """Take the record in, or not. A PMID that comes again (a later version) replaces itself."""
        self.seen += 1
        if pmid in self._rows:
            self._rows[pmid] = row
            return
        entry = (-_hash(f"{self._salt}:{pmid}"), pmid)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
            self._rows[pmid] = row
        elif self._heap and entry > self._heap[0]:
            _, out = heapq.heapreplace(self._heap, entry)
            del self._rows[out]
            self._rows[pmid] = row

    def first(self, count: int) -> list[Row]:
        """The `count` records with the smallest hashes."""
        return [self._rows[pmid] for _, pmid in sorted(self._heap, reverse=True)[:count]]
