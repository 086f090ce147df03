"""`launch.py corpus stats | show PMID | export`: look into a corpus, or write its passages."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.cli.columns import columns
from residency.errors import EXIT_DONE, EXIT_MISSING, Missing, RecipeInvalid

if TYPE_CHECKING:
    from residency.pubmed.corpus import Corpus

_WIDTH = 100
_SHOWN = 8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "corpus",
        help="look into a corpus, or write its passages",
        epilog="examples: python launch.py corpus stats; python launch.py corpus show 31452104; "
        "python launch.py corpus export --words 200 -o passages.jsonl",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument(
        "--corpus",
        metavar="CORPUS",
        help="a corpus's folder, or a run that made one (id, or the recipe's name); default: the latest",
    )
    stats = actions.add_parser("stats", parents=[which], help="what a corpus holds and where it came from")
    stats.add_argument("--format", choices=("text", "json"), default="text")
    show = actions.add_parser("show", parents=[which], help="records by PMID")
    show.add_argument("pmid", metavar="PMID", nargs="+", type=int)
    show.add_argument("--format", choices=("text", "json"), default="text")
    export = actions.add_parser("export", parents=[which], help="passages as JSON Lines, {id, contents}")
    export.add_argument("-o", "--out", type=Path, metavar="FILE", help="where to; default: print them")
    export.add_argument("--tokens", type=int, metavar="N", help="the most tokens of a passage")
    export.add_argument("--words", type=int, metavar="N", help="the most words of a passage")
    export.add_argument("--tokenizer", metavar="NAME", help="a folder with tokenizer.json, or a model's name")
    export.add_argument(
        "--overlap", type=int, default=0, metavar="N", help="tokens or words repeated from the passage before"
    )
    export.add_argument("--force", action="store_true", help="write over FILE when it is there")


def run(arguments: argparse.Namespace) -> int:
    """Open the corpus and do what is asked."""
    from residency.pubmed.corpus import open_corpus

    corpus = open_corpus(_folder(arguments.corpus))
    if arguments.action == "stats":
        return _stats(corpus, arguments.format)
    if arguments.action == "show":
        return _show(corpus, arguments.pmid, arguments.format)
    return _export(corpus, arguments)


def _folder(asked: str | None) -> Path:
    """The folder of the corpus that is meant."""
    from residency.paths import runs_dir
    from residency.run import history, rundir

    if asked is not None:
        given = Path(asked).expanduser()
        for path in (given, given / "corpus", given / "outputs" / "corpus"):
            if (path / "manifest.json").is_file():
                return path
        runs = [rundir.find(runs_dir(), asked)]
    else:
        runs = [folder for folder, _ in rundir.all_runs(runs_dir())]
    for folder in runs:
        past = history.load(folder)
        for stage in past.record.stages:
            found = past.stage_folder(stage) / "outputs" / "corpus"
            if stage.kind == "corpus" and (found / "manifest.json").is_file():
                return found
    what = f"{asked} made no corpus" if asked else f"no run in {runs_dir()} made a corpus"
    raise Missing(what, "python launch.py recipes/corpus/pubmed_query.yaml --profile smoke makes a small one")


def _stats(corpus: Corpus, form: str) -> int:
    if form == "json":
        about = {key: value for key, value in corpus.manifest.items() if key != "parts"}
        size = sum(part.path.stat().st_size for part in corpus.parts)
        whole = {**about, "folder": str(corpus.folder), "files": len(corpus.parts), "bytes": size}
        print(json.dumps(whole, ensure_ascii=False, indent=2))
    else:
        print("\n".join(_stats_text(corpus)))
    return EXIT_DONE


def _stats_text(corpus: Corpus) -> Iterator[str]:
    manifest = corpus.manifest
    figures = manifest.get("figures") or {}
    size = sum(part.path.stat().st_size for part in corpus.parts)
    yield f"{corpus.count:,} records in {corpus.folder}"
    first, last = corpus.parts[0].first, corpus.parts[-1].last
    facts = [
        ("PMIDs", f"{first} to {last}"),
        ("files", f"{len(corpus.parts)}, {size / 1e6:.1f} MB"),
        ("created", str(manifest.get("created"))),
        ("licence", str(manifest.get("licence") or "not stated")),
    ]
    for key, name in (("with_abstract", "with abstract"), ("with_mesh", "with MeSH")):
        if key in figures:
            facts.append((name, f"{figures[key]:,} ({figures[key] / corpus.count:.1%})"))
    if figures.get("words"):
        facts.append(("words", f"{figures['words']:,} in abstracts"))
    query = manifest.get("query")
    if query:
        facts.append(("query", str(query.get("term"))))
        entered = f", entered until {query['entered_until']}" if query.get("entered_until") else ""
        facts.append(("found", f"{query.get('found'):,} records by {query.get('server')}{entered}"))
    for source in (manifest.get("sources") or [])[:_SHOWN]:
        facts.append(("source", f"{source.get('url')} ({source.get('file')})"))
    more = len(manifest.get("sources") or []) - _SHOWN
    if more > 0:
        facts.append(("", f"and {more:,} more files"))
    for drop in manifest.get("dropped") or []:
        facts.append(("dropped", f"{drop['n']:,}: {drop['reason']}"))
    yield columns(facts, indent="  ")
    for key, title in (("languages", "languages"), ("publication_types", "types"), ("journals", "journals")):
        counts = list((figures.get(key) or {}).items())[:_SHOWN]
        if counts:
            yield f"\n{title}"
            yield columns([(f"{n:,}", name) for name, n in counts], right=(0,), indent="  ")
    if figures.get("years"):
        yield "\nyears"
        yield columns(_decades(figures["years"]), right=(1,), indent="  ")


def _decades(years: Mapping[str, int]) -> list[tuple[str, str]]:
    """Counts by year, or by decade where there are many."""
    if len(years) <= 2 * _SHOWN:
        return [(year, f"{n:,}") for year, n in years.items()]
    counts: dict[str, int] = {}
    for year, n in years.items():
        counts[f"{year[:-1]}0s"] = counts.get(f"{year[:-1]}0s", 0) + n
    return [(decade, f"{n:,}") for decade, n in counts.items()]


def _show(corpus: Corpus, pmids: list[int], form: str) -> int:
    """Print the records; 3 when one is not there."""
    found = [(pmid, corpus.get(pmid)) for pmid in pmids]
    rows = [row for _, row in found if row is not None]
    if form == "json":
        print(json.dumps(rows if len(pmids) > 1 else rows[0] if rows else None, ensure_ascii=False, indent=2))
    elif rows:
        print("\n\n".join("\n".join(_record(row)) for row in rows))
    absent = [str(pmid) for pmid, row in found if row is None]
    if absent:
        print(f"error: {', '.join(absent)} not in this corpus ({corpus.folder})", file=sys.stderr)
    return EXIT_MISSING if absent else EXIT_DONE


def _record(row: Mapping[str, Any]) -> Iterator[str]:
    yield from textwrap.wrap(row["title"], _WIDTH)
    authors = row["authors"]
    shown = ", ".join(authors[:_SHOWN]) + (
        f" and {len(authors) - _SHOWN} more" if len(authors) > _SHOWN else ""
    )
    facts = [
        ("PMID", str(row["pmid"])),
        ("authors", shown),
        ("journal", row["journal"]),
        ("date", row["date"]),
        ("doi", row["doi"]),
        ("language", ", ".join(row["languages"])),
        ("types", ", ".join(row["publication_types"])),
    ]
    yield columns([fact for fact in facts if fact[1]], indent="  ")
    for paragraph in row["abstract"].split("\n"):
        if paragraph:
            yield ""
            yield from textwrap.wrap(paragraph, _WIDTH)
    if row["mesh"]:
        yield ""
        headings = [_heading(heading) for heading in row["mesh"]]
        yield from textwrap.wrap(f"MeSH: {'; '.join(headings)}", _WIDTH)


def _heading(heading: Mapping[str, Any]) -> str:
    """A heading as NLM prints it: a star for a major topic, qualifiers behind a stroke."""
    parts = [heading, *heading["qualifiers"]]
    return "/".join(part["name"] + ("*" if part["major"] else "") for part in parts)


def _export(corpus: Corpus, arguments: argparse.Namespace) -> int:
    from residency.pubmed.chunks import Chunking, write_jsonl

    if arguments.tokens and arguments.words:
        raise RecipeInvalid("--tokens and --words are both given, and a passage has one bound")
    bound = arguments.tokens or arguments.words
    if bound is not None and (bound < 8 or arguments.overlap >= bound or arguments.overlap < 0):
        raise RecipeInvalid("a passage has 8 words or tokens at least, and its overlap is smaller than it")
    if arguments.tokens and not arguments.tokenizer:
        raise RecipeInvalid("--tokens needs --tokenizer", "a folder with tokenizer.json, or a model's name")
    how = (
        Chunking(arguments.tokens, arguments.words, arguments.tokenizer, arguments.overlap) if bound else None
    )
    out: Path | None = arguments.out
    if out is None:
        write_jsonl(corpus.rows(["pmid", "title", "abstract"]), sys.stdout, how)
        return EXIT_DONE
    if out.exists() and not arguments.force:
        raise RecipeInvalid(f"{out} is there already", "choose another name, or add --force")
    from residency.engines.corpus.build import export

    n = export(corpus.folder, out, how)
    print(f"wrote {n:,} passages to {out}")
    return EXIT_DONE
