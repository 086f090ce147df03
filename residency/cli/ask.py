"""`launch.py ask "QUESTION"`: what an index, or a retrieval server, finds for a question."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from residency.errors import EXIT_DONE, Missing, RecipeInvalid

DEFAULT = "quickstart-retrieval"
"""The run whose index is asked when none is named."""
SNIPPET = 320
"""Characters of a document that are shown."""
PUBMED = "https://pubmed.ncbi.nlm.nih.gov/"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "ask",
        help="ask an index, or a retrieval server, a question",
        epilog='example: python launch.py ask "does aspirin prevent colorectal cancer?" --topk 5',
    )
    parser.add_argument("question", metavar="QUESTION", nargs="+")
    parser.add_argument("--topk", type=int, default=5, metavar="N", help="documents to show (5)")
    parser.add_argument(
        "--index",
        default=None,
        metavar="WHERE",
        help=f"an index's folder, RUN or RUN:STAGE, or a server's address (default: the run {DEFAULT})",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Print what was found."""
    question = " ".join(arguments.question).strip()
    if not question:
        raise RecipeInvalid("the question is empty", 'python launch.py ask "does aspirin prevent cancer?"')
    if arguments.topk < 1:
        raise RecipeInvalid(f"--topk {arguments.topk}: at least 1 document is to be shown")
    where = str(arguments.index or DEFAULT)
    if where.startswith(("http://", "https://")):
        found = _served(where, question, arguments.topk)
    else:
        found = _searched(where, question, arguments.topk, named=arguments.index is not None)
    if arguments.format == "json":
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(found, min(shutil.get_terminal_size((100, 24)).columns, 100))))
    return EXIT_DONE


def _searched(where: str, question: str, topk: int, *, named: bool) -> list[dict[str, Any]]:
    """Search an index on this disk."""
    from residency.paths import runs_dir
    from residency.retrieval import places

    folder = places.find(where, runs_dir())
    if folder is None and not named:
        raise Missing(
            f"there is no index yet: the run {where} has not been made",
            "python launch.py recipes/quickstart_retrieval.yaml, or name one: --index FOLDER",
        )
    if folder is None:
        path = Path(where).expanduser()
        what = "holds no index" if path.is_dir() else "is neither an index, nor a run that made one"
        raise Missing(f"{where} {what}", "give the folder that an `index` stage left, or a run's name")
    print(f"searching {folder}", file=sys.stderr)
    from residency.retrieval.searcher import open_index

    searcher = open_index(folder)
    (hits,) = searcher.search([question], topk)
    return [{"score": float(hit.score), "document": hit.document} for hit in hits]


def _served(url: str, question: str, topk: int) -> list[dict[str, Any]]:
    """Ask a server."""
    from residency.retrieval import client

    found = client.retrieve(url, [question], topk, client.Patience(seconds=30.0, tries=3))
    return [{"score": hit["score"], "document": hit["document"]} for hit in found[0]]


def lines(found: Sequence[dict[str, Any]], width: int) -> Iterator[str]:
    """What was found, for a terminal of that width."""
    from residency.report import wording

    if not found:
        yield "nothing was found"
    for place, hit in enumerate(found, 1):
        document = hit["document"]
        title = wording.clean(str(document.get("title") or _first_line(document) or "without a title"))
        head = textwrap.wrap(title, max(20, width - 4), break_long_words=False) or [""]
        yield f"{place:>2}. {head[0]}"
        yield from (f"    {line}" for line in head[1:])
        yield f"    {_named(document)}   score {hit['score']:.4g}"
        text = wording.clean(" ".join(str(document.get("text") or "").split()))
        yield from (f"    {line}" for line in textwrap.wrap(_cut(text), max(20, width - 4)))
        yield ""


def _named(document: dict[str, Any]) -> str:
    pmid = document.get("pmid")
    if pmid:
        return f"PMID {pmid}  {PUBMED}{pmid}"
    return f"id {document.get('id', '')}"


def _first_line(document: dict[str, Any]) -> str:
    return str(document.get("contents") or "").partition("\n")[0].strip('"')


def _cut(text: str) -> str:
    if len(text) <= SNIPPET:
        return text
    return text[:SNIPPET].rpartition(" ")[0] + " …"
