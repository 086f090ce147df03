"""MeSH in its four forms of file, subheadings, languages, dates, filters, fields."""

from __future__ import annotations

import datetime
import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import Missing, RecipeInvalid
from residency.pubmed.eutils import replies
from residency.retrieval.boolean import dates, filters, languages, mesh, subheadings
from residency.retrieval.boolean.build import build
from residency.retrieval.boolean.fields import FIELDS, TAGS, field
from residency.retrieval.boolean.local import LocalSearch
from residency.retrieval.boolean.parser import parse
from residency.retrieval.boolean.syntax import Chain, Range, Term, Words
from residency.retrieval.boolean.text import patterns, words

XML = """<?xml version="1.0"?>
<!DOCTYPE DescriptorRecordSet SYSTEM "https://www.nlm.nih.gov/databases/dtd/nlmdescriptorrecordset_20250101.dtd">
<DescriptorRecordSet LanguageCode="eng">
<DescriptorRecord DescriptorClass="1"><DescriptorUI>D006973</DescriptorUI>
<DescriptorName><String>Hypertension</String></DescriptorName>
<TreeNumberList><TreeNumber>C14.907.489</TreeNumber></TreeNumberList>
<ConceptList><Concept PreferredConceptYN="Y"><ConceptUI>M1</ConceptUI><TermList>
<Term><TermUI>T1</TermUI><String>Hypertension</String></Term>
<Term><TermUI>T2</TermUI><String>Blood Pressure, High</String></Term></TermList></Concept></ConceptList>
</DescriptorRecord>
<DescriptorRecord DescriptorClass="1"><DescriptorName><String>Vascular Diseases</String></DescriptorName>
<TreeNumberList><TreeNumber>C14.907</TreeNumber></TreeNumberList></DescriptorRecord>
</DescriptorRecordSet>
"""
ASCII = """*NEWRECORD
MH = Hypertension
PRINT ENTRY = Blood Pressure, High|T047|NON|EQV|NLM (1990)
MN = C14.907.489

*NEWRECORD
MH = Vascular Diseases
MN = C14.907
"""
FORMS = {
    "desc.xml": XML,
    "d.bin": ASCII,
    "mtrees.bin": "Hypertension;C14.907.489\nVascular Diseases;C14.907\n",
    "trees.txt": "C14.907.489\tHypertension\nC14.907\tVascular Diseases\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_forms_of_mesh(name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(FORMS[name].encode()) if packed else FORMS[name].encode())
    vocabulary = mesh.read(path)
    assert set(vocabulary.headings) == {"hypertension", "vascular diseases"}
    assert vocabulary.broader("hypertension") == {"hypertension", "vascular diseases"}
    assert vocabulary.broader("vascular diseases") == {"vascular diseases"}
    if name in ("desc.xml", "d.bin"):
        assert vocabulary.names()["blood pressure high"] == "hypertension"


def test_the_real_file(mesh_file: Path) -> None:
    vocabulary = mesh.read(mesh_file)
    assert len(vocabulary.headings) > 29_000
    assert "cardiovascular diseases" in vocabulary.broader("hypertension")
    assert vocabulary.names()["newborn infant"] == "infant newborn"
    # A heading stands in several places, and what is above any of them includes it.
    assert {"neoplasms", "lung diseases"} <= vocabulary.broader("lung neoplasms")


@pytest.mark.parametrize("content", [b"", b"nothing of it\n", b"<html><body/></html>", b"<a>", b"\x1f\x8bx"])
def test_what_is_no_mesh_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mesh"
    path.write_bytes(content)
    with pytest.raises(RecipeInvalid, match="mesh"):
        mesh.read(path)
    with pytest.raises(Missing, match="no MeSH file"):
        mesh.read(tmp_path / "nowhere")


def test_without_a_mesh_file_a_heading_is_itself_alone(tmp_path: Path) -> None:
    rows = [
        {"pmid": 1, "title": "", "abstract": "", "mesh": [{"name": "Hypertension", "major": True}]},
        {"pmid": 2, "title": "", "abstract": "", "mesh": [{"name": "Vascular Diseases"}]},
    ]
    build(rows, tmp_path / "plain")
    (tmp_path / "trees.txt").write_text(FORMS["trees.txt"])
    build(rows, tmp_path / "trees", tmp_path / "trees.txt")
    plain, trees = LocalSearch.open(tmp_path / "plain"), LocalSearch.open(tmp_path / "trees")
    assert plain.search("vascular diseases[mh]").pmids == ("2",)
    assert trees.search("vascular diseases[mh]").pmids == ("2", "1")
    assert trees.search("vascular diseases[mh:noexp]").pmids == ("2",)
    assert trees.search("vascular diseases[majr]").pmids == ("1",)
    assert "[MeSH Terms]" in plain.search("hypertension").translation


def test_subheadings() -> None:
    assert len(subheadings.SHORT) == 76
    assert subheadings.named("DT") == subheadings.named("Drug Therapy") == "drug therapy"
    assert subheadings.named("administration and dosage") == "administration & dosage"
    assert subheadings.named("nonsense") is None
    # NLM's own example.
    assert set(subheadings.narrower("therapeutic use")) == {
        *("therapeutic use", "administration & dosage", "adverse effects", "poisoning", "toxicity")
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("English", "eng"),
        ("eng", "eng"),
        ("chi", "chi"),
        ("chinese", "chi"),
        ("jpn", "jpn"),
        ("x", None),
        ("", None),
    ],
)
def test_languages(text: str, code: str | None) -> None:
    assert languages.code(text) == code


@pytest.mark.parametrize(
    ("text", "year", "number"),
    [
        ("1979", None, 19790101),
        ("1979-06", None, 19790601),
        ("1979-06-21", None, 19790621),
        ("1979 Jul-Sep", None, 19790701),
        ("1998 Dec-1999 Jan", None, 19981201),
        ("Winter 1977", None, 19770101),
        ("1977 Spring", None, 19770401),
        ("2020 Mar 5", None, 20200305),
        ("", 1981, 19810101),
        (None, None, 0),
        ("n.d.", None, 0),
    ],
)
def test_dates_of_records(text: str | None, year: int | None, number: int) -> None:
    assert dates.of_record(text, year) == number


@given(st.text(), st.one_of(st.none(), st.integers(1500, 2100)))
def test_any_date_is_one_or_none(text: str, year: int | None) -> None:
    number = dates.of_record(text, year)
    assert number == 0 or dates.span(dates.show(number)) == (number, number)


def test_the_last_years() -> None:
    today = datetime.date(2024, 2, 29)
    assert dates.last("last 1 year", today) == (20230228, 20240229)
    assert dates.last('"Last 30 days"', today) == (20240130, 20240229)
    assert dates.last("last month", today) == (20240128, 20240229)
    assert dates.last("last 9999 years", today) is not None
    assert dates.last("last 9999 days", today) is not None
    assert dates.last("lately", today) is None


def test_every_filter_is_a_query_that_is_understood(tmp_path: Path) -> None:
    build([{"pmid": 1, "title": "x"}], tmp_path / "index")
    search = LocalSearch.open(tmp_path / "index")
    for name in (*filters._QUERIES, "english", "y_5"):
        query = filters.query(name)
        assert query is not None
        parse(query)
        search.search(f"{name}[Filter] OR x")


def test_every_field_is_found_by_its_tags_in_any_case() -> None:
    for one in FIELDS:
        for tag in (one.name, *one.tags):
            assert field(tag.upper()) is one
            assert field(f"  {tag} ") is one
    assert field("title / abstract") is field("TIAB")
    assert len(TAGS) > 150


def test_the_fields_that_pubmed_lists_are_known(reference: Path) -> None:
    text = (reference / "pubmed_xml/eutils_replies/einfo2.xml").read_text(encoding="utf-8")
    fields = text[text.index("<FieldList>") : text.index("</FieldList>")]
    names = re.findall(r"<FullName>(.*?)</FullName>", fields)
    assert len(names) > 30
    unknown = [name for name in names if field(name) is None]
    assert unknown == ["Publisher ID"], unknown


def test_the_translations_that_pubmed_gave_are_queries(reference: Path) -> None:
    """PubMed's own translations are read, and as what they say."""
    folder = reference / "pubmed_xml/eutils_replies"
    shapes = {}
    for name in ("esearch1.xml", "esearch2.xml", "esearch3.xml"):
        text = (folder / name).read_text(encoding="utf-8")
        query = re.search(r"<QueryTranslation>(.*?)</QueryTranslation>", text, re.S)
        assert query is not None
        shapes[name] = parse(query[1].replace("&quot;", '"'))[0]
    first, second, third = shapes.values()
    assert isinstance(first, Term)
    assert (first.text, first.field is not None and first.field.name) == ("biopython", "All Fields")
    assert isinstance(second, Chain)
    assert isinstance(second.rest[0][1], Range)
    assert (second.rest[0][1].low, second.rest[0][1].high) == ("2008/02/16", "2008/04/16")
    group = second.first
    assert isinstance(group, Chain)
    assert [operator for operator, _ in group.rest] == ["OR", "OR"]
    assert isinstance(third, Chain)
    assert isinstance(third.first, Term)
    assert (third.first.text, third.first.quoted) == ("Proc Natl Acad Sci U S A", True)


def test_our_mapping_is_what_pubmed_did(reference: Path, tmp_path: Path) -> None:
    """`cancer` was mapped to its heading, `biopython` to nothing; the parts that PubMed has since dropped
    (the heading's words for records without headings) aside."""
    path = tmp_path / "d.bin"
    path.write_text("*NEWRECORD\nMH = Neoplasms\nENTRY = Cancer\nMN = C04\n")
    build([{"pmid": 1, "title": "cancer"}, {"pmid": 2, "title": "neoplasms"}], tmp_path / "index", path)
    search = LocalSearch.open(tmp_path / "index")
    folder = reference / "pubmed_xml/eutils_replies"
    theirs = re.search(r"<To>(.*?)</To>", (folder / "esearch2.xml").read_text(encoding="utf-8"))
    assert theirs is not None
    ours = search.search("cancer")
    assert ours.translation == '"neoplasms"[MeSH Terms] OR "neoplasms"[All Fields] OR "cancer"[All Fields]'
    assert '"neoplasms"[MeSH Terms]' in theirs[1].replace("&quot;", '"')
    # What PubMed made of it is a query that finds the same here.
    assert set(search.search(theirs[1].replace("&quot;", '"')).pmids) == set(ours.pmids)
    assert search.search("biopython").translation == '"biopython"[All Fields]'
    # And what was not found is said as the reply says it.
    empty = (folder / "esearch8.xml").read_text(encoding="utf-8")
    phrase = re.search(r"<PhraseNotFound>(.*?)</PhraseNotFound>", empty)
    assert phrase is not None
    found = search.search(phrase[1])
    assert found.count == 0
    assert any(phrase[1].lower() in warning for warning in found.warnings)


def test_both_engines_say_warnings_alike() -> None:
    reply = b'{"esearchresult": {"count": "0", "idlist": [], "errorlist": {"phrasesnotfound": ["xyzzy"]}}}'
    assert replies.search(reply, 0, 10, 9999).warnings == ("not found: xyzzy",)


@given(st.text())
def test_words_are_the_same_in_any_case_and_form(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    assert patterns(" ".join(found)) == found
    assert all(word and not re.search(r"[\W_]", word) for word in found)


def test_words_without_tags_are_kept_with_their_places() -> None:
    node = parse("asthma  in children")[0]
    assert isinstance(node, Words)
    assert node.starts == (0, 8, 11)
