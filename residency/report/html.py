"""A run as one self-contained HTML page.

The page asks no network for anything: style and script stand in it, charts are drawn here. Its
content security policy allows the one script by its hash, so that nothing that a model wrote
could run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

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
    there = {key: part for key, part in found.items() if part is not None}
    links = [tag("a", TITLES[key], href=f"#{key}") for key in there]
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
        tag("title", f"{record.name} · {record.status} · Residency"),
        tag("style", raw(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        header.section(record),
        tag("nav", links, aria_label="Sections") if links else None,
        tag("main", list(there.values()), id="content"),
        tag("footer", f"Written by Residency on {wording.when(written)} from {record.id}."),
        tag("script", raw(script)),
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en")) + "\n"


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
