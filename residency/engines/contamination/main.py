"""The command of a contamination stage: `python -m residency.engines.contamination.main stage.yaml`.

Leaves `outputs/leaks.jsonl`, a line for each leak, and `outputs/report.json`. Ends with 4 when rows
leak that the recipe does not allow.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from residency.contamination.find import Found, compare
from residency.contamination.rows import RowSet
from residency.engines.contamination import spec
from residency.errors import EXIT_DONE, EXIT_FAILED, ResidencyError
from residency.files import atomic, write_json

SHOWN = 5
"""Leaks that are printed; the file has all of them."""
HINT = "take the rows out of the training set, or, if they may stand there, say why: allow_leak: {reason: …}"


def main(argv: list[str]) -> int:
    """Compare; 0 when nothing leaks, or only what may."""
    path = Path(argv[0] if argv else "stage.yaml").absolute()
    stage = yaml.safe_load(path.read_text(encoding="utf-8"))
    outputs = path.parent / "outputs"
    outputs.mkdir(exist_ok=True)
    try:
        report = run(stage, outputs, path.parent / "progress.json")
    except ResidencyError as error:
        print(f"error: {error.message}")
        if error.hint:
            print(f"hint: {error.hint}")
        return error.exit_code
    print(report["said"])
    for shown in report["first"]:
        print(f"  {shown}")
    if report["leaks"] > report["allowed"]:
        print(f"error: {report['said']}")
        print(f"hint: {HINT}")
        return EXIT_FAILED
    return EXIT_DONE


def run(stage: Mapping[str, Any], outputs: Path, progress: Path | None = None) -> dict[str, Any]:
    """Compare the sets of `stage` and write what was found; returns the report.

    Raises:
        Missing: A file is not there.
        StageFailed: A file cannot be read as rows.
    """
    began = last = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal last
        if progress is not None and time.monotonic() - last > 1:
            last = time.monotonic()
            write_json(progress, {"step": rows})

    sets = {key: [RowSet(name, tuple(paths)) for name, paths in stage[key].items()] for key in spec.SETS}
    found = compare(
        sets["training"],
        sets["evaluation"],
        ngram=stage.get("ngram") or spec.NGRAM,
        named_ids=stage.get("ids") or (),
        progress=tell,
    )
    allowed = stage.get("allow_leak")
    unmet = spec.allow(found.leaks, allowed)
    report = _report(stage, found, unmet)
    report["seconds"] = round(time.monotonic() - began, 3)
    with atomic(outputs / "leaks.jsonl") as stream:
        for leak in found.leaks:
            stream.write(json.dumps(asdict(leak), ensure_ascii=False) + "\n")
    write_json(outputs / "report.json", report)
    return report


def _report(stage: Mapping[str, Any], found: Found, unmet: list[str]) -> dict[str, Any]:
    refused = [leak for leak in found.leaks if not leak.allowed]
    shown = refused or found.leaks
    return {
        "said": spec.sentence(shown) or "no row of an evaluation set stands in a training set",
        "leaks": len(found.leaks),
        "allowed": len(found.leaks) - len(refused),
        "reason": (stage.get("allow_leak") or {}).get("reason"),
        "allowed_ids_not_met": unmet,
        "first": [spec.line(leak) for leak in shown[:SHOWN]],
        "training": found.training,
        "evaluation": found.evaluation,
        "not_compared": list(stage.get("not_compared") or []),
        "ngram": stage.get("ngram") or spec.NGRAM,
        "common_stretches": found.common,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
