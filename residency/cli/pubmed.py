"""`launch.py pubmed index CORPUS -o DIR` and `launch.py pubmed search "QUERY" --index DIR`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from residency.errors import EXIT_DONE, RecipeInvalid

if TYPE_CHECKING:
    from residency.retrieval.boolean.engine import Found, StudySearch

EXAMPLES = """examples:
  python launch.py pubmed index runs/corpus/outputs/corpus -o pubmed-index --mesh desc2025.xml
  python launch.py pubmed search 'hypertension[mh] AND "controlled trial*"[tiab]' --index pubmed-index
  python launch.py pubmed search 'asthma NOT review[pt]' --index pubmed-index --count
  python launch.py pubmed search 'asthma[ti]' --live --email you@example.org

docs/pubmed_search.md says which of PubMed's language is understood."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "pubmed",
        help="search a corpus in PubMed's language",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("search", "index"), help="what to do")
    parser.add_argument("what", metavar="QUERY|CORPUS", help="the query; for `index` the corpus's folder")
    made = parser.add_argument_group("index")
    made.add_argument("-o", "--output", type=Path, metavar="DIR", help="where the index goes")
    made.add_argument(
        "--mesh",
        type=Path,
        metavar="FILE",
        help="MeSH: descYYYY.xml, dYYYY.bin, mtreesYYYY.bin, or lines of tree number, tab, heading",
    )
    asked = parser.add_argument_group("search")
    asked.add_argument("--index", type=Path, metavar="DIR", help="the index to search, or a run")
    asked.add_argument("--live", action="store_true", help="search PubMed itself, through the E-utilities")
    asked.add_argument("--email", default="", help="with --live: whom NCBI may write to")
    asked.add_argument("--retmax", type=int, default=20, metavar="N", help="PMIDs to print; default 20")
    asked.add_argument("--sort", choices=("relevance", "date"), default="relevance")
    asked.add_argument("--mindate", metavar="DATE", help="first publication date: YYYY, YYYY/MM, YYYY/MM/DD")
    asked.add_argument("--maxdate", metavar="DATE", help="last publication date")
    asked.add_argument("--count", action="store_true", help="print the number of records alone")
    asked.add_argument("--translation", action="store_true", help="print how the query was understood")
    asked.add_argument("--strict", action="store_true", help="reject what PubMed passes over with a warning")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Make an index, or search one."""
    return _index(arguments) if arguments.action == "index" else _search(arguments)


def _index(arguments: argparse.Namespace) -> int:
    from residency.pubmed.corpus import open_corpus
    from residency.retrieval.boolean.build import build
    from residency.retrieval.boolean.documents import COLUMNS

    if arguments.output is None:
        raise RecipeInvalid("`pubmed index` needs the folder of the index", "add -o DIR")
    corpus = open_corpus(arguments.what)
    began = time.monotonic()
    shows = sys.stderr.isatty()

    def progress(count: int) -> None:
        if shows:
            rate = count / max(time.monotonic() - began, 1e-9)
            print(f"\r{count:,} records, {rate:,.0f} a second ", end="", file=sys.stderr, flush=True)

    manifest = build(corpus.rows(COLUMNS), arguments.output, arguments.mesh, progress)
    if shows:
        print(file=sys.stderr)
    if arguments.format == "json":
        print(json.dumps({key: value for key, value in manifest.items() if key != "files"}, indent=2))
        return EXIT_DONE
    size = sum(facts["bytes"] for facts in manifest["files"].values())
    mesh = manifest["mesh"]
    trees = f"{mesh['headings']:,} MeSH headings" if mesh else "no MeSH file, so nothing is exploded"
    print(
        f"{arguments.output}: {manifest['count']:,} records, {manifest['words']:,} words, {trees}, "
        f"{size / 1e6:,.0f} MB, in {time.monotonic() - began:.0f} s"
    )
    return EXIT_DONE


def _search(arguments: argparse.Namespace) -> int:
    from residency.retrieval.boolean.engine import QueryRejected

    if arguments.retmax < 0:
        raise RecipeInvalid(f"--retmax {arguments.retmax}: 0 or more")
    engine = _engine(arguments)
    try:
        found = engine.search(
            arguments.what,
            retmax=0 if arguments.count else arguments.retmax,
            sort=arguments.sort,
            mindate=arguments.mindate,
            maxdate=arguments.maxdate,
        )
    except QueryRejected as error:
        if arguments.format == "json":
            print(json.dumps({"rejected": error.reason, "position": error.position, "help": error.hint}))
            return error.exit_code
        if error.query:
            print(f"error: {error.reason}\n{_indented(error.caret())}", file=sys.stderr)
            if error.hint:
                print(f"  help: {error.hint}", file=sys.stderr)
            return error.exit_code
        raise
    except ValueError as error:
        raise RecipeInvalid(str(error)) from None
    _print(found, arguments)
    return EXIT_DONE


def _engine(arguments: argparse.Namespace) -> StudySearch:
    if arguments.live == (arguments.index is not None):
        raise RecipeInvalid("`pubmed search` needs something to search", "add --index DIR, or --live")
    if arguments.live:
        from residency.retrieval.boolean.live import LiveSearch

        return LiveSearch(email=arguments.email)
    from residency.paths import runs_dir
    from residency.retrieval import places
    from residency.retrieval.boolean.local import LocalSearch

    # An index of `engine: boolean` may be named by its run.
    folder = places.find(str(arguments.index), runs_dir()) or arguments.index
    return LocalSearch.open(folder, strict=arguments.strict)


def _print(found: Found, arguments: argparse.Namespace) -> None:
    if arguments.format == "json":
        answer = {
            "count": found.count,
            "pmids": list(found.pmids),
            "translation": found.translation,
            "warnings": list(found.warnings),
        }
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.translation:
        print(found.translation)
    if arguments.count:
        print(found.count)
        return
    first = f", the first {len(found.pmids)}" if len(found.pmids) < found.count else ""
    print(f"{found.count:,} record{'' if found.count == 1 else 's'}{first}")
    for pmid in found.pmids:
        print(pmid)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))
