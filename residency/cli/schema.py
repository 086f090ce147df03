"""`launch.py schema`: write the JSON Schemas anew; `--check` says whether they are current."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from residency.errors import EXIT_DONE, EXIT_RECIPE, Missing, StageFailed
from residency.files import write_text
from residency.paths import PROJECT
from residency.recipe import editor_schema

SCHEMAS = PROJECT / "schemas"
ENGINES = Path(__file__).resolve().parents[1] / "engines"
TIMEOUT = 300
"""Seconds for one engine; importing it takes up to ten on a quiet machine."""
_SHOWN = 12


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "schema",
        help="write the JSON Schemas anew, or check that they are current",
        description="Writes schemas/engines/ from the installed engines, and schemas/recipe.schema.json.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 2 when a file has drifted")


def run(arguments: argparse.Namespace) -> int:
    """Regenerate or compare every schema. Exit 0, or 2 when `--check` finds a difference."""
    skipped: list[str] = []
    drift: list[str] = []
    for engine, module in sources():
        version = _installed(module.DISTRIBUTION)
        if version is None:
            skipped.append(engine)
            continue
        path = SCHEMAS / "engines" / f"{engine}-{version}.json"
        drift += _settle(path, generate(engine), check=arguments.check)
        for name, source in getattr(module, "LISTS", {}).items():
            path = SCHEMAS / "engines" / f"{engine}-{version}.{name}.txt"
            drift += _settle_list(path, _made(engine, source), check=arguments.check)
    drift += _settle(SCHEMAS / "recipe.schema.json", editor_schema.build(SCHEMAS), check=arguments.check)
    for engine in skipped:
        print(f"skipped {engine}: it is not installed (make install)")
    if arguments.check:
        for line in drift:
            print(line)
        print("run `python launch.py schema` and commit the result" if drift else "the schemas are current")
        return EXIT_RECIPE if drift else EXIT_DONE
    return EXIT_DONE


def sources() -> Iterator[tuple[str, Any]]:
    """(engine, its `schema_source` module) of every engine whose keys have a schema."""
    for path in sorted(ENGINES.glob("*/schema_source.py")):
        engine = path.parent.name
        yield engine, importlib.import_module(f"residency.engines.{engine}.schema_source")


def generate(engine: str) -> dict[str, Any]:
    """The schema of an engine's keys, made in a process of its own.

    Raises:
        StageFailed: the engine does not import, or takes longer than `TIMEOUT`.
    """
    found: dict[str, Any] = json.loads(_made(engine, f"residency.engines.{engine}.schema_source"))
    return found


def _made(engine: str, module: str) -> str:
    """What a module writes about its engine, run in a process of its own."""
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        try:
            done = subprocess.run(
                [sys.executable, "-m", module, str(out)],
                cwd=PROJECT,
                env={**os.environ, **quiet},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StageFailed(f"{engine} did not answer within {TIMEOUT} s") from None
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else "no message"
            raise Missing(
                f"the keys of {engine} cannot be read: {reason}", f"try `python -m {module} x.json`"
            )
        return out.read_text(encoding="utf-8")


def _settle(path: Path, schema: dict[str, Any], *, check: bool) -> list[str]:
    """Write the schema, or with `check` say how the file differs from it."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    said = "missing" if old is None else "" if old == schema else _difference(old, schema)
    return _drift(path, said, json.dumps(schema, indent=1, ensure_ascii=False) + "\n", check=check)


def _settle_list(path: Path, text: str, *, check: bool) -> list[str]:
    """The same for a list of names, one a line."""
    old = path.read_text(encoding="utf-8") if path.is_file() else None
    before, after = set((old or "").split("\n")), set(text.split("\n"))
    said = _named(("added", after - before), ("removed", before - after)) or "in another order"
    return _drift(path, "missing" if old is None else "" if old == text else said, text, check=check)


def _drift(path: Path, said: str, text: str, *, check: bool) -> list[str]:
    """With `check` the drift, if any; else the file is made current."""
    shown = path.relative_to(PROJECT)
    if check:
        return [f"{shown}: {said}"] if said else []
    if said:
        write_text(path, text)
    print(f"{shown}: {'written' if said == 'missing' else said or 'current'}")
    return []


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which keys were added, removed and changed, in a line."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return (
        _named(
            ("added", after.keys() - before.keys()),
            ("removed", before.keys() - after.keys()),
            ("changed", {key for key in before.keys() & after.keys() if before[key] != after[key]}),
        )
        or "in another order"
    )


def _named(*groups: tuple[str, set[str]]) -> str:
    """`added a, b; removed c`, of long groups the first names."""
    words = []
    for verb, keys in groups:
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            words.append(f"{verb} {', '.join(sorted(keys)[:_SHOWN])}{more}")
    return "; ".join(words)


def _flat(schema: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, everything said of it) for each key that a schema names."""
    if not isinstance(schema, dict):
        yield path, json.dumps(schema)
        return
    below = {**schema.get("properties", {}), **{f"${k}": v for k, v in schema.get("$defs", {}).items()}}
    own = {key: value for key, value in schema.items() if key not in ("properties", "$defs")}
    yield path or "(top)", json.dumps(own, sort_keys=True)
    for key, value in below.items():
        yield from _flat(value, f"{path}.{key}" if path else key)


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
