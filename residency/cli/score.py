"""`launch.py score bioasq GOLD SYSTEM`: a system's answers against the gold ones, with intervals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import EXIT_DONE, Missing, RecipeInvalid

if TYPE_CHECKING:
    from residency.benchmark.bioasq.read import Batch
    from residency.benchmark.bioasq.score import Phase
    from residency.benchmark.scored import Scored

EXAMPLES = """examples:
  python launch.py score bioasq 12B1_golden.json system.json
  python launch.py score bioasq 12B1_golden.json system.json --phase a --format json
  python launch.py score pubmedqa test_ground_truth.json predictions.json
  python launch.py score citations runs/corpus/outputs/corpus runs/eval/outputs/samples.jsonl

The scores are those of the benchmarks' official evaluators (docs/benchmarks.md); the interval comes
from the questions."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "score",
        help="score a file of answers",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", choices=("bioasq", "pubmedqa", "citations"), help="whose rules count")
    parser.add_argument(
        "gold",
        type=Path,
        metavar="GOLD",
        help="the right answers (.json, .json.gz); citations: what PMIDs there are, a corpus's folder, "
        "an index's (`pubmed index`), or a text file of them",
    )
    parser.add_argument(
        "system",
        type=Path,
        metavar="SYSTEM",
        help="the answers to score; citations: JSON Lines such as a run's samples.jsonl",
    )
    parser.add_argument(
        "--phase",
        choices=("a", "b"),
        help="bioasq: a (documents, snippets) or b (exact answers); else each that SYSTEM has something for",
    )
    parser.add_argument(
        "--edition",
        type=int,
        metavar="N",
        help="bioasq: the rules of edition 5, 8 (default) or 9, as the official evaluator's -e",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap; default 0")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Score, and print."""
    if arguments.benchmark != "bioasq" and (arguments.phase or arguments.edition is not None):
        raise RecipeInvalid("--phase and --edition are BioASQ's", "leave them out")
    found = _SCORE[arguments.benchmark](arguments)
    if arguments.format == "json":
        print(json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False))
    return EXIT_DONE


def _bioasq(arguments: argparse.Namespace) -> dict[str, Any]:
    from residency.benchmark.bioasq import read
    from residency.benchmark.bioasq.score import EDITION, score

    gold, system = read.load(arguments.gold), read.load(arguments.system, gold=False)
    edition = EDITION if arguments.edition is None else arguments.edition
    phases: list[Phase] = [arguments.phase] if arguments.phase else _phases(system)
    answer: dict[str, Any] = {"benchmark": "bioasq", "edition": edition, "seed": arguments.seed}
    for phase in phases:
        scores = score(gold, system, phase, edition=edition, seed=arguments.seed)
        if arguments.format == "text":
            _print(f"phase {phase.upper()}: {arguments.system.name} against {arguments.gold.name}", scores)
        answer[f"phase{phase.upper()}"] = scores.to_json()
    return answer


def _phases(system: Batch) -> list[Phase]:
    """What a file of answers has something for."""
    replies = system.questions.values()
    retrieved = any(one.documents or one.snippets or one.concepts or one.triples for one in replies)
    answered = any(one.text is not None or one.answers is not None for one in replies)
    if retrieved == answered:
        return ["a", "b"]
    return ["a"] if retrieved else ["b"]


def _pubmedqa(arguments: argparse.Namespace) -> dict[str, Any]:
    from residency.benchmark import pubmedqa

    scores = pubmedqa.score_files(arguments.gold, arguments.system, seed=arguments.seed)
    if arguments.format == "text":
        _print(f"{arguments.system.name} against {arguments.gold.name}", scores)
    return {"benchmark": "pubmedqa", "seed": arguments.seed} | scores.to_json()


def _citations(arguments: argparse.Namespace) -> dict[str, Any]:
    from residency.benchmark import citations
    from residency.engines.lm_eval.questions import BadRow, read

    known = citations.known(str(arguments.gold))
    try:
        rows = [row for _, row in read(arguments.system) if isinstance(row, dict)]
    except FileNotFoundError:
        raise Missing(f"there is no file {arguments.system}") from None
    except (BadRow, UnicodeDecodeError) as error:
        raise RecipeInvalid(str(error), "a row is {id, output, prompt}, as in samples.jsonl") from None
    scores = citations.score(citations.answers(rows), known, seed=arguments.seed)
    if arguments.format == "text":
        _print(f"citations of {arguments.system.name}, PMIDs of {arguments.gold.name}", scores)
    return {"benchmark": "citations", "seed": arguments.seed} | scores.to_json()


_SCORE = {"bioasq": _bioasq, "pubmedqa": _pubmedqa, "citations": _citations}


def _print(title: str, scores: Scored) -> None:
    from residency.benchmark.figures import table

    print(title)
    for line in table(scores.figures):
        print(f"  {line}")
    if scores.problems:
        print("what was found wrong:")
        for line in scores.problems.lines():
            print(f"  {line}")
