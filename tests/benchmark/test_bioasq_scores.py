"""BioASQ's scores: the official evaluator's numbers, and its rules one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from bioasq_case import batch, one, question, snippet, values
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark.bioasq import exact, read, retrieved, score
from residency.errors import RecipeInvalid


@pytest.mark.parametrize("name", ["12B1", "12B2"])
@pytest.mark.parametrize("phase", ["a", "b"])
def test_the_official_numbers(reference_dir: Path, name: str, phase: score.Phase) -> None:
    folder = reference_dir / "bioasq"
    official = json.loads((folder / "official_scores.json").read_text(encoding="utf-8"))
    gold = read.load(folder / f"{name}_golden.json.gz")
    system = read.load(folder / f"{name}_system_perturbed.json.gz", gold=False)
    found = score.score(gold, system, phase)
    assert found.values() == pytest.approx(
        official["batches"][name][f"phase{phase.upper()}"], abs=1e-9, rel=0
    )
    assert not found.problems
    for figure in found.figures:
        assert figure.low is None or figure.low <= figure.value <= figure.high


@pytest.mark.parametrize("name", ["12B1", "12B2"])
def test_gold_against_itself_is_perfect(reference_dir: Path, name: str) -> None:
    path = reference_dir / "bioasq" / f"{name}_golden.json.gz"
    found = score.score(read.load(path), read.load(path, gold=False), "b").values()
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("yes", 1),
        ("YES.", 1),
        ("Yes, it does", 1),
        ("no", 0),
        ("maybe", 0),
        ("", 0),
        ([["yes"]], 0),
        (None, 0),
    ],
)
def test_yes_and_no(said: Any, right: int) -> None:
    assert one("yesno", "Yes", said)["yesno_accuracy"] == right


def test_unknown_has_no_in_it() -> None:
    assert one("yesno", "no", "Unknown")["yesno_accuracy"] == 1


def test_an_unreadable_answer_is_an_error_for_both_labels() -> None:
    gold = [question(str(n), "yesno", answer) for n, answer in enumerate(["yes", "yes", "no"])]
    said = [question("0", "yesno", "yes"), question("1", "yesno", "perhaps"), question("2", "yesno", "no")]
    found = values(gold, said, "b")
    assert found["yesno_f1_yes"] == pytest.approx(2 / 3)
    assert found["yesno_f1_no"] == pytest.approx(2 / 3)
    assert found["yesno_macro_f1"] == pytest.approx(2 / 3)


FACTOID = [["BRCA1", "breast cancer 1"]]


@pytest.mark.parametrize(
    ("said", "strict", "lenient", "mrr"),
    [
        ([["brca1"]], 1, 1, 1),
        ([["BREAST CANCER 1"], ["x"]], 1, 1, 1),
        ([["x"], ["y"], ["brca1"]], 0, 1, 1 / 3),
        ([["x", "brca1"]], 0, 0, 0),  # a system's synonyms do not count
        ([["brca1."]], 0, 0, 0),
        ([["brca1 "]], 0, 0, 0),
        ([[], ["brca1"]], 1, 1, 1),  # an empty entry is passed over
        ([["1"], ["2"], ["3"], ["4"], ["5"], ["brca1"]], 0, 1, 1 / 6),  # the evaluator reads all
        ([], 0, 0, 0),
        ("brca1", 0, 0, 0),
        (["x", "brca1"], 0, 1, 1 / 2),
    ],
)
def test_factoids(said: Any, strict: float, lenient: float, mrr: float) -> None:
    found = one("factoid", FACTOID, said)
    names = ("factoid_strict_accuracy", "factoid_lenient_accuracy", "factoid_mrr")
    assert [found[name] for name in names] == pytest.approx([strict, lenient, mrr])


@pytest.mark.parametrize(
    ("gold", "said", "precision", "recall"),
    [
        ([["a"], ["b", "c"]], [["A"], ["C"]], 1, 1),
        ([["a"], ["b", "c"]], [["b"], ["c"]], 1 / 2, 1 / 2),  # two names of one entry
        ([["a"], ["b", "c"]], [["a"], ["a"]], 1 / 2, 1 / 2),
        ([["a"], ["a"]], [["a"]], 1, 1),  # an entry that is left is not missed when it was said
        ([["a"], ["a"], ["a"]], [["a"]], 1, 1 / 2),
        ([["a"]], [["a"], ["x"], ["y"]], 1 / 3, 1),
        ([["a"]], [["x"]], 0, 0),
        ([["a"]], [], 0, 0),
        ([["5"]], [[5]], 1, 1),
    ],
)
def test_lists(gold: Any, said: Any, precision: float, recall: float) -> None:
    found = one("list", gold, said)
    assert found["list_precision"] == pytest.approx(precision)
    assert found["list_recall"] == pytest.approx(recall)
    f1 = 2 * precision * recall / (precision + recall) if precision and recall else 0
    assert found["list_f1"] == pytest.approx(f1)


def test_a_question_that_is_left_out_is_wrong_and_named() -> None:
    gold = batch(question("1", "yesno", "yes"), question("2", "yesno", "no"), question("3", "summary"))
    system = batch(question("1", "yesno", "yes"), question("9", "yesno", "no"), gold=False)
    found = score.score(gold, system, "b")
    assert found.values()["yesno_accuracy"] == 0.5
    assert [row["problem"] for row in found.problems.to_json()] == [
        "system: a question that is not in the gold file; left out",
        "system: no answer to a gold question; scored 0",
    ]
    assert score.score(gold, system, "b", edition=9).values()["yesno_accuracy"] == 1.0


def test_average_precision_divides_by_the_gold_items_at_most_ten() -> None:
    gold = [f"d{n}" for n in range(12)]
    found = retrieved.ranked(gold, [*gold[:2], "x", gold[2]], 8)
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 4) / 10)
    assert retrieved.ranked(["d1"], ["x", "d1"], 8).average_precision == 0.5
    assert retrieved.ranked(["d1"], ["x", "d1"], 5).average_precision == pytest.approx(0.05)
    assert retrieved.ranked([], ["x"], 8) == (0, 0, 0, 0)
    assert retrieved.ranked(["x"], [], 8) == (0, 0, 0, 0)


def test_gmap_adds_epsilon_and_phase_a_leaves_out_what_was_not_answered() -> None:
    gold = [question(name, "summary", documents=["http://x/1"]) for name in "abc"]
    said = [
        question("a", "summary", documents=["http://x/1"]),
        question("b", "summary", documents=["http://x/2"]),
    ]
    found = values(gold, said, "a")
    assert found["documents_map"] == 0.5
    assert found["documents_gmap"] == pytest.approx(math.sqrt((1 + 1e-5) * 1e-5))
    assert found["concepts_map"] == found["triples_gmap"] == 0.0


def test_documents_named_twice_count_once_and_must_be_spelt_alike() -> None:
    gold = [question("a", "summary", documents=["http://x/1", "http://x/2"])]
    said = [question("a", "summary", documents=["http://x/1", "http://x/1", "https://x/2"])]
    found = values(gold, said, "a")
    assert (found["documents_precision"], found["documents_recall"]) == (0.5, 0.5)


def test_snippets_share_characters() -> None:
    gold = [question("a", "summary", snippets=[snippet(0, 9), snippet(20, 29)])]
    said = [question("a", "summary", snippets=[snippet(5, 24)])]  # 5 to 9 and 20 to 24
    found = values(gold, said, "a")
    assert found["snippets_precision"] == pytest.approx(10 / 20)
    assert found["snippets_recall"] == pytest.approx(10 / 20)
    assert found["snippets_map"] == pytest.approx((10 / 20) / 2)


def test_snippets_that_overlap_become_one() -> None:
    made = [
        read.Snippet("d", "abstract", "abstract", *ends) for ends in [(0, 5), (20, 30), (4, 21), (40, 41)]
    ]
    joined = retrieved.merged(made)
    assert [(one.begin, one.end) for one in joined] == [(0, 30), (40, 41)]
    other = read.Snippet("d", "title", "title", 0, 5)
    assert retrieved.merged([made[0], other]) == [made[0], other]


def test_a_snippet_of_a_known_document_counts_as_relevant() -> None:
    gold = [question("a", "summary", snippets=[snippet(0, 9)])]
    said = [question("a", "summary", snippets=[snippet(0, 9), snippet(50, 59), snippet(0, 9, "http://x/2")])]
    found = values(gold, said, "a")
    assert found["snippets_map"] == pytest.approx((10 / 10 + 10 / 20) / 1)


def test_documents_of_snippets_are_told_by_their_last_part_for_precision_only() -> None:
    gold = [question("a", "summary", snippets=[snippet(0, 9, "http://x/1")])]
    said = [question("a", "summary", snippets=[snippet(0, 9, "https://y/1")])]
    found = values(gold, said, "a")
    assert (found["snippets_precision"], found["snippets_map"]) == (1.0, 0.0)


def test_section_zero_of_a_system_is_an_abstract() -> None:
    numbered, abstract = (read.Snippet("d", name, name, 0, 9) for name in ("0", "abstract"))
    assert retrieved.overlap(numbered, abstract) == 10
    assert retrieved.overlap(abstract, numbered) == 0


def test_without_gold_snippets_gmap_counts_the_question_as_one() -> None:
    gold = [question("a", "summary", snippets=[]), question("b", "summary", snippets=[snippet(0, 9)])]
    said = [question(name, "summary", snippets=[snippet(0, 9)]) for name in "ab"]
    found = values(gold, said, "a")
    assert found["snippets_map"] == 0.5
    assert found["snippets_gmap"] == pytest.approx(math.sqrt(1 + 1e-5))
    assert values(gold, said, "a", edition=9)["snippets_map"] == 1.0


def test_triples_are_scored_over_those_that_are_right() -> None:
    right, wrong = {"s": "s", "p": "p", "o": "o"}, {"s": "s", "p": "p", "o": None}
    gold = [question("a", "summary", triples=[right])]
    found = values(gold, [question("a", "summary", triples=[wrong, right])], "a")
    assert (found["triples_precision"], found["triples_recall"], found["triples_map"]) == (1, 1, 1)
    assert values(gold, [question("a", "summary", triples=[wrong])], "a")["triples_recall"] == 0


def test_concepts_count_where_both_have_some() -> None:
    gold = [question("a", "summary", concepts=["c1", "c2"]), question("b", "summary", concepts=["c1"])]
    said = [question("a", "summary", concepts=["c1"]), question("b", "summary")]
    found = score.score(batch(*gold), batch(*said, gold=False), "a")
    figures = {one.name: one for one in found.figures}
    assert (figures["concepts_recall"].value, figures["concepts_recall"].n) == (0.5, 1)


def test_files_without_a_question_in_common() -> None:
    with pytest.raises(RecipeInvalid, match="no question of gold"):
        values([question("1", "yesno", "yes")], [question("2", "yesno", "yes")], "b")


def test_editions() -> None:
    with pytest.raises(RecipeInvalid, match="no edition 7"):
        values([question("1", "yesno", "yes")], [question("1", "yesno", "yes")], "b", edition=7)


WORDS = st.lists(st.lists(st.sampled_from(["a", "B", "b", "c", "d e"]), min_size=1, max_size=3), max_size=6)


@given(WORDS, WORDS)
def test_exact_answers_stay_in_range(gold: list[list[str]], said: list[list[str]]) -> None:
    right, given_ = tuple(map(tuple, gold)), tuple(map(tuple, said))
    factoid = exact.factoid(right, given_)
    assert 0 <= factoid.strict <= factoid.mrr <= factoid.lenient <= 1
    found = exact.items(right, given_)
    assert all(0 <= value <= 1 for value in found)
    assert min(found[:2]) - 1e-12 <= found.f1 <= max(found[:2]) + 1e-12
    # A list that is right in every entry, under whatever synonym it comes first, is perfect.
    if right:
        assert exact.items(right, right) == pytest.approx((1, 1, 1))


ENDS = st.tuples(st.integers(0, 40), st.integers(0, 20), st.sampled_from("xy"))


@given(st.lists(ENDS, max_size=8), st.lists(ENDS, max_size=8))
def test_snippets_against_sets_of_characters(gold: list[Any], said: list[Any]) -> None:
    def made(ends: list[Any]) -> list[read.Snippet]:
        return retrieved.merged(
            [read.Snippet(name, "abstract", "abstract", begin, begin + more) for begin, more, name in ends]
        )

    def characters(snippets: list[read.Snippet]) -> set[tuple[str, int]]:
        return {(one.document, at) for one in snippets for at in range(one.begin, one.end + 1)}

    wanted, found = made(gold), made(said)
    scored = retrieved.passages(wanted, found, 8)
    both = characters(wanted) & characters(found)
    assert scored.precision == pytest.approx(len(both) / len(characters(found)) if found else 0)
    assert scored.recall == pytest.approx(len(both) / len(characters(wanted)) if wanted else 0)
    assert math.isnan(scored.average_precision) == (not wanted)
    assert characters(wanted) == {(n, at) for b, more, n in gold for at in range(b, b + more + 1)}
