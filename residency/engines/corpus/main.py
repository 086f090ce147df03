"""The command of a corpus stage: `python -m residency.engines.corpus.main stage.yaml`.

Runs in the stage's folder. Downloads, answers of PubMed and files that were read survive a kill; the corpus
itself is written whole or not at all.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from residency.engines.corpus import query, spec
from residency.engines.corpus.build import Builder, export
from residency.engines.corpus.files import SourceFile, files
from residency.engines.corpus.spools import Files, Spools
from residency.engines.processors.notes import Notes
from residency.errors import EXIT_FAILED, ResidencyError
from residency.files import write_json
from residency.paths import cache_dir, mirror_dir
from residency.pubmed.chunks import Chunking
from residency.pubmed.corpus import need_pyarrow
from residency.pubmed.select import Filters

CORPUS, JSONL, REPORT = "corpus", "corpus.jsonl", "report.json"
UNIT_BYTES = 20 * 1024 * 1024
"""Small files are read together until they have so many bytes."""


def main(argv: list[str]) -> int:
    """Make the corpus; 0 when it is there."""
    config = Path(argv[0] if argv else "stage.yaml").resolve()
    folder = config.parent
    notes = Notes(folder)
    (folder / "error.json").unlink(missing_ok=True)
    try:
        run(yaml.safe_load(config.read_text(encoding="utf-8")), folder, notes)
    except ResidencyError as error:
        return _failed(folder, notes, error.message, error.hint, error.exit_code)
    except OSError as error:
        traceback.print_exc()
        where = f": {error.filename}" if error.filename else ""
        message = f"{error.strerror or error}{where}"
        hint = "what was fetched is kept; make room, or set RESIDENCY_CACHE or RESIDENCY_RUNS to another disk"
        return _failed(folder, notes, message, hint, EXIT_FAILED)
    return 0


def _failed(folder: Path, notes: Notes, message: str, hint: str | None, code: int) -> int:
    notes.say(f"error: {message}")
    if hint:
        notes.say(f"  {hint}")
    write_json(folder / "error.json", {"message": message, "hint": hint})
    return code


def run(config: Mapping[str, Any], folder: Path, notes: Notes) -> None:
    """Fetch, read, put in order, write."""
    began = time.monotonic()
    need_pyarrow()
    base, cache, mirror = Path(config["recipe_folder"]), cache_dir(), mirror_dir()
    how = Chunking.of(config.get("jsonl"))
    if how is not None:
        how.count()  # a tokenizer that is not there is said before anything is fetched
    spools = Spools(
        folder / "spools", Filters.of(config.get("filters")), notes, int(config.get("threads") or 1)
    )
    got = _read_files(config, spools, base, cache, mirror, notes)
    answered = None
    asked = spec.query(config)
    if asked is not None:
        answered = query.run(asked, folder, base, cache, mirror, notes)
        for name, unit in _units(answered.files):
            spools.add(name, unit)
    runs, report, broken = spools.close()
    warnings = answered.warnings if answered else []
    for one in broken[:10]:
        notes.say(
            f"warning: {one['path']}, byte {one['offset']}: a broken record, passed over ({one['reason']})"
        )
    if broken:
        warnings = [
            *warnings,
            f"{_counted(len(broken))} passed over; report.json says where",
        ]
    outputs = folder / "outputs"
    builder = Builder(folder / "work", report, notes, bool(config.get("dedupe")), spec.sample(config))
    about = {
        "licence": _licences(got, answered is not None),
        "sources": [one.to_json() for one in got],
        "query": answered.about if answered else None,
        "filters": config.get("filters") or {},
        "sample": config.get("sample"),
        "dedupe": bool(config.get("dedupe")),
    }
    corpus = builder.build(runs, outputs / CORPUS, about)
    said = {"records": corpus.count, **report.to_json(), "broken": broken, "warnings": warnings}
    if config.get("jsonl"):
        said["passages"] = export(outputs / CORPUS, outputs / JSONL, how, notes)
        notes.say(f"{JSONL}: {said['passages']:,} passages")
    said["seconds"] = round(time.monotonic() - began, 2)
    write_json(outputs / REPORT, said)
    spools.forget()
    for left in (folder / "work").glob("*.zst"):
        left.unlink()
    notes.say(
        f"{CORPUS}: {corpus.count:,} records, {len(corpus.parts)} Parquet file{'s' * (len(corpus.parts) > 1)}"
    )
    for drop in said["dropped"]:
        notes.say(f"  dropped {drop['n']:,}: {drop['reason']}")


def _read_files(
    config: Mapping[str, Any], spools: Spools, base: Path, cache: Path, mirror: Path | None, notes: Notes
) -> list[SourceFile]:
    """Read every file of the sources as it comes."""
    got: list[SourceFile] = []
    sources = config.get("sources") or {}
    spools.expected = sum(len(spec.expand(str(value["url"]))) for value in sources.values())

    def tell(text: str) -> None:
        notes.say(text)
        notes.progress(text, force=True)

    for one in files(sources, cache=cache, mirror=mirror, base=base, tell=tell):
        checked = "md5 as stated" if one.md5 else f"sha256 {one.sha256}"
        notes.say(f"{one.source}: {one.path.name}, {one.bytes / 1e6:.1f} MB from the {one.origin}, {checked}")
        spools.add(one.path.name, [(str(one.path), None)])
        got.append(one)
    return got


def _units(found: Mapping[Path, set[int]]) -> list[tuple[str, Files]]:
    """The batches of a query, some together."""
    units: list[tuple[str, Files]] = []
    size = UNIT_BYTES
    for path, pmids in found.items():
        if size >= UNIT_BYTES:
            units.append((f"batches, part {len(units) + 1}", []))
            size = 0
        units[-1][1].append((str(path), frozenset(pmids)))
        size += path.stat().st_size
    return units


def _counted(n: int) -> str:
    return "1 broken record was" if n == 1 else f"{n:,} broken records were"


def _licences(got: list[SourceFile], asked: bool) -> str:
    """The licences of everything that is in the corpus."""
    found = dict.fromkeys(one.licence for one in got)
    if asked:
        found[spec.LICENCE] = None
    return "; ".join(found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
