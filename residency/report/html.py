"""A run as one self-contained HTML page.

The page asks no network for anything: style and script stand in it, charts are drawn here. Its
content security policy allows the one script by its hash, so that nothing that a model wrote
could run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from residency.files import write_text
from residency.report import wording
from residency.report.collect import collect
from residency.report.markup import Markup, join, raw, tag
from residency.report.model import RunRecord
from residency.report.page import (
    data,
    evaluation,
    header,
    leaks,
    origin,
    resources,
    samples,
    stages,
    training,
)

if TYPE_CHECKING:
    from residency.report.several import Several

PAGE = Path(__file__).parent / "page"

TITLES = {
    "evaluation": "Evaluation",
    "training": "Training",
    "samples": "Samples",
    "leaks": "Leaks",
    "data": "Data",
    "stages": "Stages",
    "resources": "Resources",
    "origin": "Made from",
    "repeat": "Repeat it",
}


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of a run, whatever state it is in.

    Args:
        run_dir: The run's directory.
        out: The file to write; `report.html` in the run's directory when it is not given.

    Returns:
        The file.

    Raises:
        Missing: There is no run in `run_dir`.
    """
    out = Path(out) if out else Path(run_dir) / "report.html"
    write_text(out, page(collect(run_dir)))
    return out


def page(record: RunRecord) -> str:
    """The page's text."""
    found = {
        "evaluation": evaluation.section(record),
        "training": training.section(record),
        "samples": samples.section(record),
        "leaks": leaks.section(record),
        "data": data.section(record),
        "stages": stages.section(record),
        "resources": resources.section(record),
        "origin": origin.section(record),
        "repeat": origin.reproduce(record),
    }
    return document(
        f"{record.name} · {record.status} · Residency",
        header.section(record),
        {TITLES[key]: (key, part) for key, part in found.items() if part is not None},
        f"from {record.id}",
    )


def write_several(runs: Sequence[Path], out: Path) -> Path:
    """Write one page of several runs; returns the file.

    Args:
        runs: The runs' directories; the others are compared with the first.
        out: The file to write.

    Raises:
        Missing: There is no run in one of them.
        RecipeInvalid: There are fewer than two, or one stands twice.
    """
    from residency.report.several import several

    write_text(out, page_of_several(several([collect(run) for run in runs])))
    return out


def page_of_several(found: Several) -> str:
    """The page of several runs."""
    from residency.report.page import side_by_side

    sections = {title: (key, part) for title, key, part in side_by_side.sections(found) if part is not None}
    names = ", ".join(dict.fromkeys(run.name for run in found.runs))
    ids = ", ".join(run.id for run in found.runs)
    return document(
        f"{names} · {len(found.runs)} runs · Residency", side_by_side.header(found), sections, f"from {ids}"
    )


def document(title: str, top: Markup, sections: Mapping[str, tuple[str, Markup]], source: str) -> str:
    """A whole page.

    Args:
        title: The document's.
        top: What stands above the sections.
        sections: Name → (id, section).
        source: What it was written from, for its last line.
    """
    links = [tag("a", name, href=f"#{key}") for name, (key, _) in sections.items()]
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    written = datetime.now(UTC).isoformat(timespec="seconds")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", raw(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        top,
        tag("nav", links, aria_label="Sections") if links else None,
        tag("main", [part for _, part in sections.values()], id="content"),
        tag("footer", f"Written by Residency on {wording.when(written)} {source}."),
        tag("script", raw(script)),
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en")) + "\n"


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
