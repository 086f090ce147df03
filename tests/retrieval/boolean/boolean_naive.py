"""A search as slow and plain as can be: every record is looked at, word by word.

It shares nothing with the engine but the list of stop words, so as not to ask for these alone. A clause is
the text of a query and what it should say of a record.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import random
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from residency.retrieval.boolean.text import STOPWORDS

Row = dict[str, Any]
TOPICS = (
    "ACEInhibitors",
    "ADHD",
    "Antihistamines",
    "AtypicalAntipsychotics",
    "CalciumChannelBlockers",
    "NSAIDS",
    "OralHypoglycemics",
    "ProtonPumpInhibitors",
    "Triptans",
)
TYPES = ("Clinical Trial", "Randomized Controlled Trial", "Review", "Letter", "Clinical Trial, Phase III")
SUBHEADINGS = ("drug therapy", "therapy", "surgery", "adverse effects", "toxicity", "blood")
BELOW = {
    "therapy": {"therapy", "drug therapy", "surgery"},
    "adverse effects": {"adverse effects", "toxicity"},
}
"""Of the subheadings here, those that include others of them."""
LANGUAGES = {"eng": "English", "fre": "French", "ger": "German", "jpn": "Japanese"}
JOURNALS = (
    ("The New England journal of medicine", "N. Engl. J. Med."),
    ("Lancet (London, England)", "Lancet"),
    ("Deutsche medizinische Wochenschrift (1946)", "Dtsch. Med. Wochenschr."),
)
SUBTREES = ("C14.907.489", "C10.228", "M01.060", "D27.505.954.411", "F03.625", "V02", "V03")
"""The parts of MeSH that the tests use."""


@dataclass(frozen=True)
class Clause:
    """A part of a query and its meaning."""

    text: str
    holds: Callable[[Row], bool]


@cache
def trees(path: Path) -> dict[str, set[str]]:
    """Heading → tree numbers, of the file."""
    found: dict[str, set[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            tree, _, name = line.rstrip("\n").partition("\t")
            if tree.startswith(SUBTREES):
                found.setdefault(name, set()).add(tree)
    return found


def beneath(name: str, path: Path) -> set[str]:
    """A heading and all with a tree number that begins with one of its own."""
    known = trees(path)
    own = tuple(tree + "." for tree in known[name])
    return {name} | {other for other, at in known.items() if any(t.startswith(own) for t in at)}


def cohen(folder: Path, topic: str) -> list[Row]:
    """A review's records as rows of a corpus. Text, authors and year are the review's; headings, types,
    languages and journals are drawn, since its file has none."""
    headings = sorted(n for n, at in trees(folder / "mesh/mesh_terms.txt.gz").items() if min(at)[0] != "V")
    chance = random.Random(topic)
    rows = []
    with gzip.open(folder / f"study_search/Cohen_2006_{topic}.csv.gz", "rt", encoding="utf-8") as stream:
        for record in csv.DictReader(stream):
            year = int(float(record["year"])) if record["year"] else None
            date = f"{year}" if year else ""
            if year and chance.random() < 0.6:
                date += f"-{chance.randint(1, 12):02d}"
                if chance.random() < 0.5:
                    date += f"-{chance.randint(1, 28):02d}"
            title, abbreviation = chance.choice(JOURNALS)
            rows.append(
                {
                    "pmid": int(record["pubmedID"]),
                    "title": record["title"],
                    "abstract": record["abstract"],
                    "mesh": [
                        _heading(chance, name) for name in chance.sample(headings, chance.randint(0, 6))
                    ],
                    "publication_types": chance.sample(TYPES, chance.randint(1, 2)),
                    "journal": title,
                    "journal_abbreviation": abbreviation,
                    "date": date,
                    "year": year,
                    "doi": f"10.1000/{record['pubmedID']}",
                    "languages": [chance.choice(list(LANGUAGES))],
                    "authors": [_pubmed_name(a) for a in record["authors"].split(";") if a.strip()],
                    "included": record["label_included"] == "1",
                }
            )
    return rows


def _heading(chance: random.Random, name: str) -> Row:
    below = [
        {"name": q, "ui": "", "major": chance.random() < 0.3}
        for q in chance.sample(SUBHEADINGS, chance.randint(0, 2))
    ]
    return {"name": name, "ui": "", "major": chance.random() < 0.3, "qualifiers": below}


def _pubmed_name(name: str) -> str:
    """`E J Reimer` as PubMed writes it: `Reimer EJ`."""
    *initials, last = name.split()
    return f"{last} {''.join(initials).replace('-', '')}" if initials else last


@cache
def words(text: str) -> tuple[str, ...]:
    """Letters and digits in a row, in lower case, without accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return tuple("".join(run) for letters, run in itertools.groupby(plain, str.isalnum) if letters)


def texts(row: Row, field: str) -> Iterator[tuple[str, ...]]:
    """The stretches of text in which a field is searched."""
    if field in ("ti", "tiab", "tw", "all"):
        yield words(row["title"])
    if field in ("ab", "tiab", "tw", "all"):
        yield words(row["abstract"])
    if field in ("tw", "all"):
        for heading in row["mesh"]:
            yield words(heading["name"])
            yield from (words(q["name"]) for q in heading["qualifiers"])
        yield from map(words, row["publication_types"])
    if field == "all":
        yield from map(words, (*row["authors"], row["journal"], row["journal_abbreviation"]))
        yield (str(row["year"]),) if row["year"] else ()


def has_phrase(row: Row, field: str, wanted: tuple[str, ...]) -> bool:
    """Whether the words stand next to each other in this order; the last may end in `*`."""
    sought = f" {' '.join(wanted)}"
    sought = sought[:-1] if sought.endswith("*") else sought + " "
    return any(sought in spaced(text) for text in texts(row, field))


@cache
def spaced(text: tuple[str, ...]) -> str:
    """The words with a blank before, between and after them."""
    return f" {' '.join(text)} "


def has_near(row: Row, field: str, wanted: tuple[str, ...], distance: int) -> bool:
    """Whether each word stands at a place of its own, with at most so many words from one to the next."""
    for text in texts(row, field):
        if not set(wanted) <= set(text):
            continue
        choices = [[at for at, word in enumerate(text) if word == one] for one in wanted]
        for places in itertools.product(*choices):
            ordered = sorted(places)
            if all(0 < b - a <= distance + 1 for a, b in itertools.pairwise(ordered)):
                return True
    return False


def has_heading(row: Row, names: set[str], qualifiers: set[str] | None, major: bool) -> bool:
    """Whether a record has one of the headings, with one of the subheadings, as a main topic."""
    for heading in row["mesh"]:
        if heading["name"] not in names:
            continue
        starred = [q for q in heading["qualifiers"] if q["major"]]
        if qualifiers is None:
            if not major or heading["major"] or starred:
                return True
            continue
        for q in heading["qualifiers"]:
            if q["name"] in qualifiers and (not major or q["major"] or (heading["major"] and not starred)):
                return True
    return False


def day(row: Row) -> str:
    """A record's date with January and the first where month and day are not given."""
    return (row["date"] + "-01-01")[:10] if row["date"] else ""


def text_clause(draw: st.DrawFn, rows: list[Row]) -> Clause:
    """A word, a phrase or a proximity search, whose words most often stand in some record."""
    field = draw(st.sampled_from(("ti", "ab", "tiab", "tw", "all")))
    row = draw(st.sampled_from(rows))
    stretch = draw(st.sampled_from([t for t in texts(row, field) if t] or [("aspirin",)]))
    size = min(draw(st.integers(1, 4)), len(stretch))
    at = draw(st.integers(0, len(stretch) - size))
    wanted = stretch[at : at + size]
    tag = draw(
        st.sampled_from(
            {"ti": ("ti", "Title", "TITL"), "tiab": ("tiab", "Title/Abstract")}.get(field, (field,))
        )
    )
    if all(word in STOPWORDS for word in wanted):
        wanted = (*wanted, "aspirin")
    shape = draw(st.sampled_from(("plain", "plain", "star", "near", "swap")))
    if shape == "near" and field in ("ti", "tiab") and len(wanted) > 1:
        distance = draw(st.integers(0, 5))
        shuffled = tuple(draw(st.permutations(wanted)))
        text = f'"{" ".join(shuffled)}"[{tag}:~{distance}]'
        return Clause(text, lambda row: has_near(row, field, shuffled, distance))
    if shape == "swap":
        wanted = wanted[::-1]
    if shape == "star" and len(wanted[-1]) >= 4:
        wanted = (*wanted[:-1], wanted[-1][: draw(st.integers(4, len(wanted[-1])))] + "*")
    joined = draw(st.sampled_from((" ", "-"))).join(wanted)
    quoted = field == "all" or draw(st.booleans()) or not joined[0].isalnum()
    text = f'"{joined}"[{tag}]' if quoted else f"{joined}[{tag}]"
    return Clause(text, lambda row: has_phrase(row, field, wanted))


def heading_clause(draw: st.DrawFn, mesh: Path) -> Clause:
    """A heading, exploded or not, main topic or not, with a subheading or without."""
    name = draw(st.sampled_from(sorted(trees(mesh))))
    noexp, major = draw(st.booleans()), draw(st.booleans())
    names = {name} if noexp else beneath(name, mesh)
    q = draw(st.sampled_from((None, None, *SUBHEADINGS)))
    qualifiers = None if q is None else ({q} if noexp else BELOW.get(q, {q}))
    said = name if q is None else f"{name}/{q}"
    tag = draw(st.sampled_from(("majr", "MeSH Major Topic") if major else ("mh", "MeSH Terms", "Mesh")))
    text = f'"{said}"[{tag}{":noexp" if noexp else ""}]'
    return Clause(text, lambda row: has_heading(row, names, qualifiers, major))


def other_clause(draw: st.DrawFn, rows: list[Row], mesh: Path) -> Clause:
    """One of the fields that are no text."""
    row = draw(st.sampled_from(rows))
    kind = draw(
        st.sampled_from(
            ("pt", "la", "ta", "au", "1au", "lastau", "dp", "range", "pmid", "pmids", "doi", "sh", "has")
        )
    )
    if kind == "pt":
        name = draw(st.sampled_from(TYPES))
        names = beneath(name, mesh)
        return Clause(f"{name}[pt]", lambda row: bool(names & set(row["publication_types"])))
    if kind == "la":
        code = row["languages"][0]
        said = draw(st.sampled_from((code, LANGUAGES[code], LANGUAGES[code].lower())))
        return Clause(f"{said}[la]", lambda row: code in row["languages"])
    if kind == "ta":
        title, short = row["journal"], row["journal_abbreviation"]
        said = draw(st.sampled_from((title, short, short.replace(".", ""))))
        return Clause(f'"{said}"[ta]', lambda row: row["journal"] == title)
    if kind in ("au", "1au", "lastau") and row["authors"]:
        return author_clause(draw, draw(st.sampled_from(row["authors"])), kind)
    if kind == "dp" and row["date"]:
        said = row["date"][: draw(st.sampled_from((4, 7, 10)))].replace("-", "/")
        return Clause(f"{said}[dp]", lambda row: day(row).replace("-", "/").startswith(said))
    if kind == "range" and row["year"]:
        low, high = row["year"] - draw(st.integers(0, 3)), row["year"] + draw(st.integers(-1, 3))
        month = draw(st.sampled_from(("", "/06")))
        text = f"{low}{month}:{high}{month}[Date - Publication]"
        first, last = (f"{low}{month or '/01'}/01", f"{high}{month or '/12'}/31")
        return Clause(text, lambda row: bool(day(row)) and first <= day(row).replace("-", "/") <= last)
    if kind == "pmid":
        pmid = row["pmid"]
        return Clause(
            draw(st.sampled_from((f"{pmid}[pmid]", f"{pmid}[uid]", f"{pmid}"))),
            lambda row: row["pmid"] == pmid,
        )
    if kind == "pmids":
        low, high = row["pmid"], row["pmid"] + draw(st.integers(-10, 100_000))
        return Clause(f"{low}:{high}[pmid]", lambda row: low <= row["pmid"] <= high)
    if kind == "doi":
        doi = row["doi"]
        return Clause(f"{doi}[aid]", lambda row: row["doi"] == doi)
    if kind == "sh":
        q = draw(st.sampled_from(SUBHEADINGS))
        qualifiers = BELOW.get(q, {q})
        return Clause(
            f"{q}[sh]", lambda row: any(b["name"] in qualifiers for h in row["mesh"] for b in h["qualifiers"])
        )
    return Clause("hasabstract", lambda row: bool(row["abstract"]))


def author_clause(draw: st.DrawFn, name: str, kind: str) -> Clause:
    """An author with all initials, in quotation marks or not, or with the last name alone."""
    whole = " ".join(words(name))
    *last, initials = whole.split() if " " in whole else (whole, "")
    surname = " ".join(last)

    def of(row: Row) -> list[str]:
        found = [" ".join(words(author)) for author in row["authors"]]
        return {"au": found, "1au": found[:1], "lastau": found[-1:]}[kind]

    if initials and not any(len(part) == 1 for part in last) and len(initials) <= 2:
        if draw(st.booleans()):
            return Clause(f'"{name}"[{kind}]', lambda row: whole in of(row))
        begin = f"{surname} {initials[0]}"

        def truncated(row: Row) -> bool:
            return any(
                a == begin or (a.startswith(begin) and len(a[len(begin) :].split(" ")[0]) <= 2)
                for a in of(row)
            )

        return Clause(f"{begin}[{kind}]", truncated)
    return Clause(f'"{name}"[{kind}]', lambda row: whole in of(row))


@st.composite
def queries(draw: st.DrawFn, rows: list[Row], mesh: Path, depth: int = 2) -> Clause:
    """A query of some clauses, with brackets in it."""
    clauses: list[tuple[str, Clause]] = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(
            st.sampled_from(
                ("text", "text", "heading", "other", "group") if depth else ("text", "heading", "other")
            )
        )
        if shape == "group":
            inner = draw(queries(rows, mesh, depth - 1))
            clause = Clause(f"({inner.text})", inner.holds)
        elif shape == "text":
            clause = text_clause(draw, rows)
        elif shape == "heading":
            clause = heading_clause(draw, mesh)
        else:
            clause = other_clause(draw, rows, mesh)
        clauses.append((draw(st.sampled_from(("AND", "OR", "OR", "NOT"))), clause))

    def holds(row: Row) -> bool:
        found = clauses[0][1].holds(row)
        for operator, clause in clauses[1:]:
            if operator == "AND":
                found = found and clause.holds(row)
            elif operator == "OR":
                found = found or clause.holds(row)
            else:
                found = found and not clause.holds(row)
        return found

    text = clauses[0][1].text + "".join(f" {operator} {clause.text}" for operator, clause in clauses[1:])
    return Clause(text, holds)
