"""A corpus of PubMed records: from a query, from NLM's files, or from both.

Leaves a folder of Parquet files in PMID order with a manifest (`residency.pubmed.corpus`), `report.json`,
and, when asked, the passages as JSON Lines in Search-R1's form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.corpus import spec
from residency.engines.corpus.engine import ENGINE
from residency.errors import RecipeInvalid
from residency.pubmed import query_text
from residency.pubmed.eutils import CAP
from residency.pubmed.select import span
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.sources.spec import problems, scheme
from residency.stages._sources import check_source, local
from residency.stages.base import Inputs, Output, StageKind


class Corpus(StageKind):
    """`kind: corpus`."""

    name: ClassVar[str] = "corpus"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """A query or sources, both such that something can come of them; bounds that leave something."""
        tree = recipe.tree
        pubmed, sources = tree.get("pubmed"), tree.get("sources")
        if pubmed is None and sources is None:
            found.add(
                "missing-key",
                "a corpus needs `pubmed` (a query) or `sources` (files), or both",
                tree.entries["kind"].key_span if "kind" in tree.entries else tree,
            )
        if isinstance(pubmed, Tree):
            if "query" not in pubmed.entries:
                hint = "in PubMed's language: `query: asthma[mh] AND review[pt]`"
                found.add("missing-key", "`pubmed` needs `query`", tree.entries["pubmed"].key_span, hint=hint)
            _check_query(pubmed, recipe.folder, found)
        if isinstance(sources, Tree):
            for item in sources.entries.values():
                if isinstance(item.value, Tree):
                    _check_files(item.value, recipe.folder, found)
        filters = tree.get("filters")
        if isinstance(filters, Tree):
            _check_dates(filters.get("dates"), found)
        jsonl = tree.get("jsonl")
        if isinstance(jsonl, Tree):
            _check_jsonl(jsonl, recipe.folder, found)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """Our own."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`corpus` and `report`, and `jsonl` when asked."""
        made = {"corpus": Output("corpus", "corpus"), "report": Output("report.json", "file")}
        if config.get("jsonl"):
            made["jsonl"] = Output("corpus.jsonl", "file")
        return made

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """Files on this disk, the tokenizer among them.

        What comes from the network is covered by the recipe: a query that was answered is not asked again.
        """
        files = []
        values = [*(config.get("sources") or {}).values(), (config.get("pubmed") or {}).get("standin")]
        for value in values:
            url = value.get("url") if isinstance(value, Mapping) else None
            if isinstance(url, str) and scheme(url) == "file" and TOKEN_OPEN not in url:
                files += [local(one, recipe_folder) for one in _expanded(url)]
        jsonl = config.get("jsonl")
        tokenizer = jsonl.get("tokenizer") if isinstance(jsonl, Mapping) else None
        if isinstance(tokenizer, str) and TOKEN_OPEN not in tokenizer:
            files.append(recipe_folder / Path(tokenizer).expanduser() / "tokenizer.json")
        ignore = ("resources", *(f"pubmed.{key}" for key in ("email", "batch", "tries", "per_second")))
        return Inputs(files=tuple(dict.fromkeys(p for p in files if p.exists())), ignore=ignore)


def _expanded(url: str) -> list[str]:
    try:
        return spec.expand(url)
    except RecipeInvalid:
        return []


def _check_query(tree: Tree, folder: Path, found: Diagnostics) -> None:
    """What can be seen of a query before PubMed is asked."""
    query = _text(tree.get("query"))
    if query is not None:
        wrong = query_text.problem(str(query.value))
        if wrong and str(query.value):
            found.add("bad-query", f"the query {wrong}", query)
        elif not wrong:
            for name in query_text.unknown_fields(str(query.value)):
                guess = closest(name.lower(), [*query_text.FIELDS])
                found.add(
                    "unknown-field",
                    f"[{name}] is no field that PubMed is known to have",
                    query,
                    severity="warning",
                    hint=f"did you mean [{guess[0]}]?"
                    if guess
                    else "PubMed ignores a field that it does not know",
                )
    order, size = _text(tree.get("order")), tree.get("size")
    if order is not None and order.value in ("relevance", "random") and size is None:
        found.add(
            "missing-key", f"`order: {order.value}` needs `size`", order, hint="how many records are wanted?"
        )
    if order is not None and order.value == "relevance" and _number(size) > CAP:
        assert size is not None
        found.add(
            "out-of-range",
            f"PubMed orders no more than {CAP:,} records by relevance",
            size,
            hint="`order: newest` or `order: random` have no such bound",
        )
    _check_dates(tree.get("dates"), found)
    standin = tree.get("standin")
    if isinstance(standin, Tree):
        check_source(_less(standin, "records"), folder, found)


def _less(tree: Tree, key: str) -> Tree:
    return Tree(tree.span, {name: item for name, item in tree.entries.items() if name != key})


def _check_files(tree: Tree, folder: Path, found: Diagnostics) -> None:
    """A source, whose address may hold a range of numbers."""
    url = _text(tree.get("url"))
    if url is None or "{" not in str(url.value):
        text = str(url.value) if url is not None else ""
        check_source(tree, folder, found, fixed=text.endswith((".xml.gz", ".xml")))
        return
    try:
        urls = spec.expand(str(url.value))
    except RecipeInvalid as error:
        found.add("bad-url", error.message, url, hint=error.hint)
        return
    if len(urls) == 1:
        found.add(
            "bad-url", f"{url.value} holds braces and no range", url, hint="a range is written {0001..1274}"
        )
        return
    for _, said in (p for p in problems({"url": urls[0]}) if p[0] == "url"):
        found.add("bad-url", f"`url` {said}", url)
        return
    if scheme(urls[0]) == "file":
        gone = [one for one in urls if not local(one, folder).exists()]
        if gone:
            more = f", nor are {len(gone) - 1} others" if len(gone) > 1 else ""
            hint = f"a relative path starts at {folder}"
            found.add("missing-file", f"{gone[0]} is not there{more}", url, hint=hint)


def _check_dates(tree: Node | None, found: Diagnostics) -> None:
    if not isinstance(tree, Tree):
        return
    first, last = tree.get("from"), tree.get("to")
    if not (isinstance(first, Scalar) and isinstance(last, Scalar) and is_known(first) and is_known(last)):
        return
    if span(str(first.value))[0] > span(str(last.value))[1]:
        found.add("conflicting-keys", f"no day lies between {first.value} and {last.value}", last)


def _check_jsonl(tree: Tree, folder: Path, found: Diagnostics) -> None:
    """A bound, counted in one way, by a tokenizer that is there."""
    tokens, words, tokenizer = tree.get("tokens"), tree.get("words"), tree.get("tokenizer")
    overlap = tree.get("overlap")
    if tokens is not None and words is not None:
        found.add(
            "conflicting-keys",
            "`tokens` and `words` are both given, and a passage has one bound",
            tree.entries["words"].key_span,
        )
    if tokens is not None and tokenizer is None:
        found.add(
            "missing-key",
            "`tokens` needs `tokenizer`",
            tree.entries["tokens"].key_span,
            hint="a folder with tokenizer.json or a model's name; `words:` needs none",
        )
    if tokenizer is not None and tokens is None:
        found.add(
            "unused-key", "`tokenizer` has no effect without `tokens`", tree.entries["tokenizer"].key_span
        )
    bound = _number(tokens if tokens is not None else words)
    if overlap is not None and bound and _number(overlap) >= bound:
        found.add("out-of-range", f"the overlap is not smaller than the passages ({bound})", overlap)
    name = _text(tokenizer)
    if name is not None and str(name.value).startswith(("/", "./", "../", "~")):
        path = folder / Path(str(name.value)).expanduser()
        if not (path / "tokenizer.json").is_file() and not path.is_file():
            found.add("model-missing", f"{name.value} holds no tokenizer.json", name)


def _text(node: Node | None) -> Scalar | None:
    """The node when it is a text that is known now."""
    return node if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node) else None


def _number(node: Node | None) -> int:
    known = isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool)
    return int(node.value) if known else 0  # type: ignore[union-attr, arg-type]


KIND = Corpus()
