"""Measure and print a table: `python -m benchmarks.run [NAME…] [--json FILE]`.

Exit code 0 when everything was measured, 1 when something could not be; with `--strict` also 1 when
a goal is missed. Close other programs first: each figure is the time on a clock on the wall.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.timing import Result, Unmeasured

# Each module has MEASURES: functions that give Results. One that does not exist yet is passed over.
MODULES = (
    "benchmarks.boolean",
    "benchmarks.check",
    "benchmarks.contamination",
    "benchmarks.launcher",
    "benchmarks.pubmed_reader",
    "benchmarks.retrieval_server",
    "benchmarks.retrieval",
    "benchmarks.rewards",
    "benchmarks.rlvr",
    "benchmarks.rlvr_start",
    "benchmarks.serving",
)

Measure = Callable[[], Iterable[Result]]


def measures(names: Sequence[str] = ()) -> list[tuple[str, Measure]]:
    """Every measurement by name (`check.typo`), or those whose name holds one of `names`."""
    found: list[tuple[str, Measure]] = []
    for module in MODULES:
        if importlib.util.find_spec(module) is None:
            continue
        for measure in importlib.import_module(module).MEASURES:
            found.append((f"{module.rpartition('.')[2]}.{measure.__name__}", measure))
    return [item for item in found if not names or any(name in item[0] for name in names)]


def table(results: Sequence[Result]) -> str:
    """The results below each other."""
    rows = [("measured", "value", "goal", "", "ratio", "against")]
    for r in results:
        goal = "" if r.goal is None else f"{'≥' if r.more_is_better else '≤'} {r.goal:.2f} {r.unit}"
        met = {True: "met", False: "MISSED", None: ""}[r.met]
        ratio = "" if r.ratio is None else f"{r.ratio:.1f}×" if r.ratio >= 10 else f"{r.ratio:.2f}×"
        against = "; ".join(part for part in (r.against, r.note) if part)
        rows.append((r.name, f"{r.value:.3f} {r.unit}", goal, met, ratio, against))
    sizes = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{c:<{s}}" for c, s in zip(row, sizes, strict=True)).rstrip() for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure the launcher.")
    parser.add_argument(
        "names", nargs="*", help="measure only what has this in its name: check, typo, reader"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--list", action="store_true", help="list what can be measured")
    arguments = parser.parse_args(argv)
    chosen = measures(arguments.names)
    if arguments.list or not chosen:
        print("\n".join(name for name, _ in measures()))
        return 0 if arguments.list else 2
    results: list[Result] = []
    failures: list[str] = []
    for name, measure in chosen:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            for result in measure():  # one after another: what was measured before a failure stays
                results.append(result)
        except (Unmeasured, AssertionError, ImportError, OSError) as error:
            failures.append(f"{name} could not be measured: {error}")
    if results:
        print(table(results))
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    if arguments.json:
        machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
        }
        written = {"machine": machine, "results": [r.to_json() for r in results], "failures": failures}
        arguments.json.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    missed = arguments.strict and any(result.met is False for result in results)
    return 1 if failures or missed else 0


if __name__ == "__main__":
    sys.exit(main())
