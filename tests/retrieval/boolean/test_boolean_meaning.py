"""What queries are understood as: headings, automatic term mapping, fields, dates, warnings."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.retrieval.boolean.build import build
from residency.retrieval.boolean.engine import QueryRejected
from residency.retrieval.boolean.local import LocalSearch

TODAY = datetime.date(2021, 6, 15)
DESCRIPTORS = """*NEWRECORD
RECTYPE = D
MH = Myocardial Infarction
PRINT ENTRY = Heart Attack|T047|NON|EQV|NLM (2000)
ENTRY = Infarct, Myocardial|T047|NON|EQV|NLM (1991)
MN = C14.280.647.500
UI = D009203

*NEWRECORD
RECTYPE = D
MH = Heart Diseases
MN = C14.280

*NEWRECORD
MH = Hypertension
MN = C14.907.489
ENTRY = High Blood Pressure

*NEWRECORD
MH = Hypertension, Malignant
MN = C14.907.489.330

*NEWRECORD
MH = Child
ENTRY = Children
MN = M01.060.406

*NEWRECORD
MH = Clinical Trial
MN = V03.175.250

*NEWRECORD
MH = Randomized Controlled Trial
MN = V03.175.250.500.500

*NEWRECORD
MH = Protein C
MN = D12.776

*NEWRECORD
MH = Therapeutics
ENTRY = Therapy
MN = E02
"""


def row(pmid: int, title: str, abstract: str = "", **more: Any) -> dict[str, Any]:
    return {"pmid": pmid, "title": title, "abstract": abstract, **more}


def mesh(name: str, *below: str, major: bool = False) -> dict[str, Any]:
    qualifiers = [{"name": q.strip("*"), "ui": "", "major": q.startswith("*")} for q in below]
    return {"name": name, "ui": "", "major": major, "qualifiers": qualifiers}


ROWS = [
    row(
        1,
        "Heart attack in children",
        "A trial of care.",
        mesh=[mesh("Myocardial Infarction", "drug therapy")],
    ),
    row(2, "Infarction", mesh=[mesh("Heart Diseases", major=True)], publication_types=["Clinical Trial"]),
    row(3, "Blood pressure", "High values.", mesh=[mesh("Hypertension", "*diet therapy", "blood")]),
    row(4, "Pressure", mesh=[mesh("Hypertension, Malignant", "surgery", major=True)], date="2021-03"),
    row(5, "A ménière-like illness", "Crohn's disease: follow-up.", authors=["O'Brien JA", "Smith J Jr"]),
    row(
        6,
        "Protein C levels",
        publication_types=["Randomized Controlled Trial"],
        journal="The New England journal of medicine",
        journal_abbreviation="N. Engl. J. Med.",
        authors=["Smith JB"],
        date="2020-12-31",
        languages=["eng"],
        doi="10.1/ABC",
    ),
    row(
        70001,
        "Organisation and organization of wards",
        "random randomly randomised",
        authors=["van der Berg K"],
    ),
    row(
        70002,
        "Ward wards",
        "the patient saw the physician; relationship good",
        year=1999,
        date="1999 Jul-Aug",
    ),
]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> LocalSearch:
    folder = tmp_path_factory.mktemp("meaning")
    (folder / "d2025.bin").write_text(DESCRIPTORS, encoding="utf-8")
    build(ROWS, folder / "index", folder / "d2025.bin")
    return LocalSearch.open(folder / "index", today=TODAY)


def pmids(search: LocalSearch, query: str) -> list[int]:
    return sorted(int(pmid) for pmid in search.search(query, retmax=100).pmids)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # Headings: entry terms, explosion, main topics, subheadings and those they include.
        ("heart attack[mh]", [1]),
        ('"Infarct, Myocardial"[Mesh]', [1]),
        ("heart diseases[mh]", [1, 2]),
        ("heart diseases[mh:noexp]", [2]),
        ("heart diseases[majr]", [2]),
        ("hypertension[majr]", [3, 4]),
        ("hypertension/therapy[mh]", [3, 4]),
        ("hypertension/th[mh]", [3, 4]),
        ("hypertension/therapy[mh:noexp]", []),
        ("hypertension/diet therapy[majr:noexp]", [3]),
        ("hypertension/blood[majr]", []),
        ("malignant hypertension/surgery", [4]),
        ("therapy[sh]", [1, 3, 4]),
        ("hypertens*[mh]", [3, 4]),
        ("therapy[sh:noexp]", []),
        ("clinical trial[pt]", [2, 6]),
        ("clinical trial[pt:noexp]", [2]),
        ("randomized controlled trials[pt]", [6]),
        # Text: accents, apostrophes, hyphens, truncation, phrases that do not cross fields.
        ("meniere[ti]", [5]),
        ("Ménière[ti]", [5]),
        ("crohn's[tiab]", [5]),
        ("follow up[tiab]", [5]),
        ('"follow-up"[tiab]', [5]),
        ("illness crohn[tiab]", []),
        ("organi*ation[ti]", [70001]),
        ("rando*[tiab]", [70001]),
        ('"wards random"[tiab]', []),
        ("ward*[ti]", [70001, 70002]),
        ('"patient physician relationship"[tiab:~2]', [70002]),
        ('"relationship patient physician"[tiab:~1]', []),
        ('"ward wards"[ti:~0]', [70002]),
        ('"ward ward"[ti:~5]', []),
        # Names.
        ("o'brien j[au]", [5]),
        ('"o\'brien j"[au]', []),
        ("smith[au]", [5, 6]),
        ("smith j[au]", [5, 6]),
        ('"smith j"[au]', []),
        ("smith jb[1au]", [6]),
        ("smith j[lastau]", [5, 6]),
        ("van der berg k[au]", [70001]),
        ("smit*[au]", [5, 6]),
        ("N Engl J Med[ta]", [6]),
        ("new england journal of medicine[Journal]", [6]),
        ("english[la]", [6]),
        ("eng[la]", [6]),
        ("10.1/abc[aid]", [6]),
        ('"https://doi.org/10.1/ABC"[doi]', [6]),
        # Dates: a month stands for the first of it, a year for January.
        ("2021/03[dp]", [4]),
        ("2021/03/01[dp]", [4]),
        ("2020/12/31:2021[dp]", [4, 6]),
        ("1999/07[dp]", [70002]),
        ('"last 5 months"[dp]', [4]),
        ('"last year"[dp]', [4, 6]),
        ('"2020:2021"[dp]', [4, 6]),
        # Numbers.
        ("70001", [70001]),
        ("70001 70002", [70001, 70002]),
        ("PMID: 70001", [70001]),
        ("1 2,3[pmid]", [1, 2, 3]),
        ("2:4[uid]", [2, 3, 4]),
        ("999999999[uid]", []),
        # Filters.
        ("all[sb] NOT hasabstract", [2, 4, 6]),
        ("hasabstract[filter] AND heart", [1]),
        ("clinicaltrial[Filter]", [2, 6]),
        ("english[Filter]", [6]),
        ("y_1[Filter]", [4, 6]),
    ],
)
def test_finds(query: str, expected: list[int], search: LocalSearch) -> None:
    assert pmids(search, query) == expected


@pytest.mark.parametrize(
    ("query", "translation"),
    [
        # PubMed's user guide, with its plurals left out.
        (
            "heart attack",
            '"myocardial infarction"[MeSH Terms] OR ("myocardial"[All Fields] AND "infarction"[All Fields]) '
            'OR "myocardial infarction"[All Fields] OR ("heart"[All Fields] AND "attack"[All Fields]) OR '
            '"heart attack"[All Fields]',
        ),
        ("protein c", '"protein c"[MeSH Terms] OR "protein c"[All Fields]'),
        ("kidney allograft[tw]", '"kidney allograft"[Text Word]'),
        ('"kidney allograft"', '"kidney allograft"[All Fields]'),
        ("kidney-allograft", '"kidney allograft"[All Fields]'),
        ("breast-feed*", '"breast feed*"[All Fields]'),
        (
            "therapy",
            '"therapeutics"[MeSH Terms] OR "therapy"[MeSH Subheading] OR "therapeutics"[All Fields] OR '
            '"therapy"[All Fields]',
        ),
        (
            "new england journal of medicine",
            '"N Engl J Med"[Journal] OR ("new"[All Fields] AND "england"[All Fields] AND "journal"[All '
            'Fields] AND "medicine"[All Fields]) OR "new england journal of medicine"[All Fields]',
        ),
        ("smith jb hip", 'smith jb[Author] AND "hip"[All Fields]'),
        ("hip of children[ti] OR x[all]", '"hip of children"[Title] OR "x"[All Fields]'),
        (
            "children hip",
            '("child"[MeSH Terms] OR "child"[All Fields] OR "children"[All Fields]) AND "hip"[All Fields]',
        ),
        ("hypertension/dt[majr]", '"hypertension/drug therapy"[MeSH Major Topic]'),
        ("high blood pressure[mh:noexp]", '"hypertension"[MeSH Terms:noexp]'),
        ("2000:2010[dp]", "2000/01/01:2010/12/31[Date - Publication]"),
        ("70001 70002", "(70001[UID] OR 70002[UID])"),
        ('"b a"[Title/Abstract:~3]', '"b a"[Title/Abstract:~3]'),
        (
            "a1 OR (b1 AND c1) NOT d1",
            '"a1"[All Fields] OR ("b1"[All Fields] AND "c1"[All Fields]) NOT "d1"[All Fields]',
        ),
    ],
)
def test_translations(query: str, translation: str, search: LocalSearch) -> None:
    assert search.search(query, retmax=0).translation == translation


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("ab*[ti] OR heart", "fewer than 4 letters before its *; the * was ignored"),
        ('"heart attac*"[tiab:~2]', "takes no *; its distance was ignored"),
        ('"heart"[tiab:~2]', "needs two words; its distance was ignored"),
        ("the hip of heart", "words ignored: the, of"),
        ("heart AND of[ti]", "words ignored: of"),
        ('"no such phrase"[tiab]', 'not found: "no such phrase"[Title/Abstract]'),
        ("no such heading[mh]", "not found in [MeSH Terms]: no such heading"),
        ("ucla[ad] OR heart", "records here have no [Affiliation], so nothing matches: ucla"),
        ("2000:2010[edat]", "records here have no [Date - Entry]; the publication date was used"),
        ("medline[sb]", "records here have no [Filter], so nothing matches: medline"),
        ("klingon[la]", "not found in [Language]: klingon"),
        ('"%%"[ti] OR heart', "a term without letters was ignored: %%"),
        ("heart[ti:noexp]", ":noexp means nothing in [Title] and was ignored"),
    ],
)
def test_warnings(query: str, warning: str, search: LocalSearch) -> None:
    assert any(warning in text for text in search.search(query).warnings), search.search(query).warnings


@pytest.mark.parametrize(
    ("query", "reason", "position"),
    [
        ("heart AND foo[dp]", "`foo` is no date", 10),
        ("2000/13[dp]", "is no date", 0),
        ("2000:present[dp]", "`present` is no date", 0),
        ("heart OR abc[pmid]", "`abc` is no PMID", 9),
        ("of", "nothing is left", 0),
        ("(the) NOT heart", "before NOT", 0),
        ('"a b c d e f g h i j k"[ti:~3]', "at most 10 words", 0),
        ("hypert*/therapy[mh]", "takes no", 0),
    ],
)
def test_rejections(query: str, reason: str, position: int, search: LocalSearch) -> None:
    with pytest.raises(QueryRejected, match=reason) as caught:
        search.search(query)
    assert caught.value.position == position


@pytest.mark.parametrize("query", ["ab*[ti]", '"heart attac*"[tiab:~2]', '"heart"[tiab:~2]'])
def test_strict_rejects_what_pubmed_passes_over(query: str, search: LocalSearch) -> None:
    strict = LocalSearch(search.index, strict=True)
    with pytest.raises(QueryRejected):
        strict.search(query)
    assert strict.search("heart*[ti]").count == 1


def test_no_warning_for_what_the_mapping_adds(search: LocalSearch) -> None:
    assert search.search("hypertension").warnings == ()


def test_dates_of_the_call(search: LocalSearch) -> None:
    assert [search.search("all[sb]", mindate=low, maxdate=high).count for low, high in (
        (None, None), ("2021", None), (None, "2020/12"), ("1999", "2021/02"), ("2021/03/02", "2021")
    )] == [8, 1, 2, 2, 0]  # fmt: skip
    with pytest.raises(ValueError, match="mindate"):
        search.search("all[sb]", mindate="soon")
    with pytest.raises(ValueError, match="retmax"):
        search.search("all[sb]", retmax=-1)


WORDS = st.sampled_from(
    ["heart", "of", "hypertension", "ab*", "organi*ation", "70001", "2020", "smith", "j", "/th", "%"]
)
TAGS = st.sampled_from(
    ["", "[mh]", "[majr:noexp]", "[au]", "[ta]", "[la]", "[pt]", "[sh]", "[dp]", "[sb]", "[aid]"]
)
TAGGED = st.tuples(st.lists(WORDS, min_size=1, max_size=4), TAGS, st.booleans()).map(
    lambda t: (f'"{" ".join(t[0])}"' if t[2] else " ".join(t[0])) + t[1]
)


@given(st.one_of(st.text(), st.lists(TAGGED, min_size=1, max_size=5).map(" OR ".join)))
def test_any_text_is_answered_or_rejected(search: LocalSearch, query: str) -> None:
    try:
        found = search.search(query)
    except QueryRejected as rejected:
        error = rejected
    else:
        error = None
    if error is not None:
        assert 0 <= error.position <= len(query)
        return
    assert found.count >= len(found.pmids) >= 0
    # What it was understood as finds the same.
    assert search.search(found.translation).pmids == found.pmids, found.translation
