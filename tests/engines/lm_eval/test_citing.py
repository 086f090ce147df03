"""The PMIDs in a task's answers: what an answer is, what its evidence is, what is not scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.engines.lm_eval.asking import SecondAnswer
from residency.engines.lm_eval.citing import scores
from residency.engines.lm_eval.engine import CITATIONS


def sample(number: int, answer: Any, asked: str | None, *before: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text} for text in (*before, *([asked] if asked else []))]
    return {
        "doc_id": number,
        "doc": {"id": f"q{number}", **({"messages": messages} if messages else {})},
        "filter": "none",
        "resps": [[answer]],
        "arguments": [["PMID: 7777777", {}]],
    }


def test_of_a_task(tmp_path: Path) -> None:
    reasoned = SecondAnswer("yes")
    reasoned.first = "as PMID: 1111111 and PMID: 3333333 say"
    found = [
        sample(0, "PMID: 1111111", "PMID 1111111: text", "an example with PMID: 2222222"),
        sample(1, reasoned, "PMID 1111111: text"),
        sample(2, "PMID: 2222222", "PMID 1111111: text", "an example with PMID: 2222222"),
        sample(3, "no", None),
    ]
    known = tmp_path / "pmids.txt"
    known.write_text("1111111\n2222222\n")
    settings = {"fn": CITATIONS, "args": {"exists": str(known)}}
    figures, problems = scores(settings, "t", found, limited=True)
    by_name = {one["metric"]: one for one in figures}
    assert (by_name["cites"]["value"], by_name["cites"]["n"]) == (0.75, 4)
    assert (by_name["pmids_exist"]["value"], by_name["pmids_exist"]["n"]) == (0.75, 3)
    assert (by_name["pmids_retrieved"]["value"], by_name["pmids_retrieved"]["n"]) == (0.5, 3)
    assert all(one["task"] == "t" and "smoke" in one["note"] for one in figures)
    assert problems == [{"problem": "a PMID that does not exist", "n": 1, "where": ["q1: 3333333"]}]


def test_without_looking_up_and_without_answers() -> None:
    figures, _ = scores(
        {"fn": CITATIONS, "args": {"exists": None}}, "t", [sample(0, "no", "x")], limited=False
    )
    assert [one["metric"] for one in figures] == ["cites"]
    weighed = {**sample(0, "", "x"), "resps": [[(-1.0, True)], [(-2.0, False)]]}
    assert scores({"fn": CITATIONS}, "t", [weighed], limited=False).figures == []
