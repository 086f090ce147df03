"""The command of a data stage: `python -m residency.engines.processors.main stage.yaml`.

Runs in the stage's folder. Downloads go into the cache and survive a kill; a dataset that was
not finished is begun anew, a finished one is kept.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from residency.engines.processors.engine import DONE
from residency.engines.processors.make import Maker
from residency.engines.processors.notes import Notes
from residency.engines.processors.spec import datasets, in_order
from residency.errors import EXIT_FAILED, RecipeInvalid, ResidencyError
from residency.files import write_json
from residency.paths import cache_dir, mirror_dir
from residency.rows.formats import entry
from residency.sources import Fetched, fetch
from residency.sources.spec import source


def main(argv: list[str]) -> int:
    """Make the datasets; 0 when all are there."""
    config = Path(argv[0] if argv else "stage.yaml").resolve()
    folder = config.parent
    notes = Notes(folder)
    (folder / "error.json").unlink(missing_ok=True)
    try:
        _run(yaml.safe_load(config.read_text(encoding="utf-8")), folder, notes)
    except ResidencyError as error:
        notes.say(f"error: {error.message}")
        if error.hint:
            notes.say(f"  {error.hint}")
        write_json(folder / "error.json", {"message": error.message, "hint": error.hint})
        return error.exit_code
    except OSError as error:
        traceback.print_exc()
        where = f": {error.filename}" if error.filename else ""
        message = f"{error.strerror or error}{where}"
        cached = str(error.filename or "").startswith(str(cache_dir()))
        hint = "RESIDENCY_CACHE=DIR chooses another folder for downloads" if cached else None
        notes.say(f"error: {message}")
        write_json(folder / "error.json", {"message": message, "hint": hint})
        return EXIT_FAILED
    return 0


def _run(config: Mapping[str, Any], folder: Path, notes: Notes) -> None:
    """Fetch, make, register, report."""
    began = time.monotonic()
    made, circle = in_order(datasets(config), config.get("sources") or {})
    if circle:
        raise RecipeInvalid(f"these datasets are made from each other: {', '.join(circle)}")
    used = {name for item in made for name in item.sources}
    wanted = {name: value for name, value in (config.get("sources") or {}).items() if name in used}
    fetched = _fetch(wanted, Path(config["recipe_folder"]), notes)
    maker = Maker(
        folder=folder,
        sources=fetched,
        recipe_folder=Path(config["recipe_folder"]),
        project=Path(config["project"]),
        notes=notes,
        done=folder / DONE,
    )
    reports = {item.name: maker.make(item) for item in made}
    outputs = folder / "outputs"
    info = {
        name: {"file_name": f"{name}.jsonl", **found}
        for item in made
        for name in item.files.values()
        if (found := entry(item.format)) is not None
    }
    write_json(outputs / "dataset_info.json", info)
    report = {
        "sources": {name: _about(value) for name, value in fetched.items()},
        "datasets": reports,
        "seconds": round(time.monotonic() - began, 2),
    }
    write_json(outputs / "report.json", report)
    for item in made:
        for file in reports[item.name]["files"]:
            labels = ", ".join(f"{n} {label}" for label, n in file["labels"].items())
            notes.say(f"{file['name']}.jsonl: {file['rows']} rows{f' ({labels})' if labels else ''}")


def _fetch(wanted: Mapping[str, Any], base: Path, notes: Notes) -> dict[str, Fetched]:
    """Every source that a dataset uses."""
    mirror = mirror_dir()
    for name, value in wanted.items():
        found = source(value)
        size = f", {found.bytes / 1e6:.1f} MB" if found.bytes else ""
        notes.say(f"source {name}: {found.shown}{size}; licence: {found.licence or 'not stated'}")
    fetched = {}
    for name, value in wanted.items():
        notes.progress(f"fetching {name}", force=True)

        def tell(text: str, name: str = name) -> None:
            notes.say(f"{name}: {text}")
            notes.progress(f"{name}: {text}", force=True)

        got = fetch(value, cache=cache_dir(), mirror=mirror, base=base, report=tell)
        notes.say(f"{name}: {got.bytes / 1e6:.1f} MB from the {got.from_}, sha256 {got.sha256}")
        fetched[name] = got
    return fetched


def _about(found: Fetched) -> dict[str, Any]:
    """A source as report.json has it."""
    return {
        "url": found.url,
        "sha256": found.sha256,
        "bytes": found.bytes,
        "licence": found.licence,
        "from": found.from_,
        "files": [path.name for path in found.files[:20]],
        "n_files": len(found.files),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
