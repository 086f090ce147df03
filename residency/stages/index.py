"""Makes a search index of documents: vectors in FAISS, words in BM25, or both.

Leaves `index`, a folder that holds all that a search needs, the queries' model included
(`residency.retrieval`). `residency.retrieval.searcher.open_index` and `kind: serve` open it.

With `engine: boolean` it is an index for PubMed's language instead (`residency.retrieval.boolean`), which
`launch.py pubmed search` and `LocalSearch` open.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.retrieval import boolean
from residency.engines.retrieval.engine import ENGINE, INDEX
from residency.engines.retrieval.spec import corpora
from residency.engines.transformers.engine import resolve
from residency.recipe.data_rows import BadRow, first_rows
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar, Sequence, at, key_span, plain
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.retrieval import faiss_index
from residency.retrieval.records import IDS, TEXTS
from residency.rows.read import format_of
from residency.sources import spec as sources
from residency.stages._sources import check_source
from residency.stages.base import Inputs, Output, StageKind

READS_AS = (
    "residency.retrieval.records.documents",
    "residency.retrieval.encoder.pool",
    "residency.retrieval.faiss_index.settings",
    "residency.retrieval.words.build",
)
"""Code that the result depends on beside the recipe."""
READS_BOOLEAN_AS = (
    "residency.retrieval.records.pubmed_rows",
    *(
        f"residency.retrieval.boolean.{module}"
        for module in ("build", "collect", "dates", "documents", "languages", "mesh", "postings", "text")
    ),
)
ONLY_VECTORS_AND_WORDS = (
    "columns",
    "titles_alone",
    "encoder",
    "index",
    "bm25",
    "search",
    "fusion_k",
)
"""Keys that `engine: boolean` does not know."""
NO_EFFECT = ("resources.cpus", "encoder.batch_tokens", "encoder.processes", "index.keep_vectors")
LOOKED_AT = 1 << 20
"""Bytes of a file of rows that are looked at before it is read."""
_TRAINED_WITH = {
    re.compile(r"(^|/)(multilingual-)?e5-", re.IGNORECASE): (
        ("passage_prefix", "passage: "),
        ("query_prefix", "query: "),
    ),
    re.compile(r"(^|/)medcpt-article-encoder", re.IGNORECASE): (
        ("query_model", "ncbi/MedCPT-Query-Encoder"),
        ("pooling", "cls"),
        ("pair", True),
    ),
}
"""Models by name, and the keys without which they do worse than they can."""


class Index(StageKind):
    """`kind: index`."""

    name: ClassVar[str] = "index"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Documents and a model that are there, parameters that belong to the index's type."""
        tree = recipe.tree
        for node in _items(tree.get("corpus")):
            _check_corpus(node, recipe, context, found)
        _check_other_engine(recipe, found)
        if _is_boolean(recipe.config):
            _check_mesh(tree.get("mesh"), recipe, context, found)
            return
        encoder, words = tree.get("encoder"), tree.get("bm25")
        has_words = words is not None and not (isinstance(words, Scalar) and words.value in (False, None))
        has_vectors = isinstance(encoder, Tree)
        if not has_words and not has_vectors and (encoder is None or is_known(encoder)):
            found.add(
                "missing-key",
                "an index has vectors or words, and this one would have neither",
                key_span(tree, ("kind",)) or tree,
                hint="give `encoder: {model: …}`, `bm25: true`, or both",
            )
        if isinstance(encoder, Tree):
            for key in ("model", "query_model"):
                _check_model(encoder.get(key), recipe, context, found)
            _check_trained_with(encoder, found)
        _check_parameters(tree.get("index"), has_vectors, found)
        _check_search(tree, has_vectors, has_words, found)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """Our own, the one or the other."""
        return boolean.ENGINE if _is_boolean(config) else ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`index`: the folder."""
        return {"index": Output(INDEX, "index")}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The documents and models on this disk; what is fetched is covered by its URL and sha256."""
        encoder = config.get("encoder") or {}
        named = (config.get("mesh"), encoder.get("model"), encoder.get("query_model"))
        given = [*corpora(config, recipe_folder, project), *named]
        files = []
        for value in given:
            if isinstance(value, Mapping):
                url = str(value.get("url") or "")
                value = url.removeprefix("file://") if sources.scheme(url) == "file" else None
            if isinstance(value, str) and value and not _is_token(value):
                path = Path(resolve(value, recipe_folder, project))
                files += [path.absolute()] if path.exists() else []
        code = READS_BOOLEAN_AS if _is_boolean(config) else READS_AS
        return Inputs(files=tuple(dict.fromkeys(files)), functions=code, ignore=NO_EFFECT)


def _is_boolean(config: Mapping[str, Any]) -> bool:
    return config.get("engine") == boolean.NAME


def _check_other_engine(recipe: Recipe, found: Diagnostics) -> None:
    """What stands in the recipe for the other engine has no effect."""
    chosen = boolean.NAME if _is_boolean(recipe.config) else ENGINE.name
    for key in ONLY_VECTORS_AND_WORDS if chosen == boolean.NAME else ("mesh",):
        if recipe.config.get(key) is not None:
            found.add(
                "unused-key",
                f"`{key}` has no effect: the engine is `{chosen}`",
                key_span(recipe.tree, (key,)) or recipe.tree,
                hint="`engine: boolean` knows `corpus`, `mesh` and `limit`, and only that knows `mesh`",
            )


def _check_mesh(node: Node | None, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    """A file of MeSH that is there."""
    if isinstance(node, Tree):
        check_source(node, recipe.folder, found)
    elif isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
        path = Path(resolve(node.value, recipe.folder, context.project))
        if not path.is_file():
            hint = f"a relative path starts at {recipe.folder}; docs/pubmed_search.md says what it may be"
            found.add("missing-file", f"{node.value} is not there", node, hint=hint)


def _check_corpus(node: Node, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    if isinstance(node, Tree):
        check_source(node, recipe.folder, found)
        return
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
        return
    path = Path(resolve(node.value, recipe.folder, context.project))
    if path.is_dir():
        if not (path / "manifest.json").is_file():
            found.add(
                "bad-data",
                f"{node.value} is no corpus: it has no manifest.json",
                node,
                hint="give the folder that a `corpus` stage left, or a file of documents",
            )
    elif not path.is_file():
        hint = f"a relative path starts at {recipe.folder}"
        if sources.scheme(node.value) != "file":
            hint = f"what is fetched is written as a mapping: {{url: {node.value}, sha256: …}}"
        found.add("missing-file", f"{node.value} is not there", node, hint=hint)
    elif not path.name.endswith((".xml", ".xml.gz")):
        _check_rows(node, path, recipe, found)


def _check_rows(node: Scalar, path: Path, recipe: Recipe, found: Diagnostics) -> None:
    """A file of rows has the columns of a document."""
    if format_of(path) is None:
        hint = "JSONL, JSON, CSV, TSV, Parquet, or PubMed XML"
        found.add("bad-data", f"{node.value} is of a kind that is not known as documents", node, hint=hint)
        return
    try:
        first = first_rows(path)
        wrong = _not_utf8(path)
    except (BadRow, OSError) as error:
        found.add("bad-data", f"{node.value} cannot be read: {error}", node)
        return
    if wrong is not None:
        found.add(
            "bad-data", f"{node.value} is not UTF-8: byte {wrong}", node, hint="convert it: iconv -t utf-8"
        )
        return
    if first is None:
        return
    if not first.columns:
        found.add("bad-data", f"{node.value} holds no documents", node)
        return
    if _is_boolean(recipe.config):
        if "pmid" not in first.columns:
            hint = f"PubMed's search finds records by their `pmid`; it has {', '.join(first.columns[:12])}"
            found.add("column-missing", f"{node.value} has no column `pmid`", node, hint=hint)
        return
    columns = recipe.tree.get("columns")
    named = plain(columns) if isinstance(columns, Tree) else {}
    there = ", ".join(first.columns[:12])
    for role, usual in (("id", IDS), ("title", None), ("text", ("contents", *TEXTS))):
        given = named.get(role)
        if isinstance(given, str) and given not in first.columns:
            near = closest(given, first.columns)
            hint = f"did you mean `{near[0]}`? it has {there}" if near else f"it has {there}"
            where = at(recipe.tree, ("columns", role)) or node
            found.add(
                "column-missing", f"{node.value} has no column `{given}` for the {role}", where, hint=hint
            )
        elif given is None and usual and not set(usual) & set(first.columns):
            names = ", ".join(f"`{name}`" for name in usual)
            hint = f"name it: columns: {{{role}: …}}; it has {there}"
            found.add("column-missing", f"{node.value} has no {role}: none of {names}", node, hint=hint)


def _not_utf8(path: Path) -> int | None:
    """The first byte, within those that are looked at, that no UTF-8 text has there; None for all well."""
    if path.suffix not in (".jsonl", ".json", ".csv", ".tsv"):
        return None
    with path.open("rb") as stream:
        start = stream.read(LOOKED_AT)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < LOOKED_AT)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _check_model(node: Node | None, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    if isinstance(node, Tree):
        check_source(node, recipe.folder, found)
        if node.get("unpack") is None and node.get("member") is None:
            found.add(
                "missing-key",
                "a model is a folder, and this source is one file",
                node,
                hint="add `unpack: true`, or a `member` that matches all files of the model",
            )
        return
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
        return
    path = Path(resolve(node.value, recipe.folder, context.project))
    if path.is_dir() and not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        found.add("model-missing", f"{node.value} holds no config.json, so it is no model", node)
    elif not path.exists() and node.value.startswith(("/", "./", "../", "~")):
        found.add("model-missing", f"the model {node.value} is not there", node)


def _check_trained_with(encoder: Tree, found: Diagnostics) -> None:
    """Say what a known model was trained with and the recipe leaves out."""
    node = encoder.get("model")
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return
    for name, keys in _TRAINED_WITH.items():
        left = [(key, value) for key, value in keys if encoder.get(key) is None]
        if name.search(node.value) and left:
            said = ", ".join(f"{key}: {_written(value)}" for key, value in left)
            found.add(
                "unusual-value",
                f"{node.value} was trained with more than this, and finds less without it",
                node,
                severity="warning",
                hint=f"add {said}",
            )


def _check_parameters(node: Node | None, has_vectors: bool, found: Diagnostics) -> None:
    """Each parameter belongs to the type of index."""
    if not isinstance(node, Tree):
        return
    if not has_vectors:
        where = next(iter(node.entries.values())).key_span if node.entries else node
        found.add("unused-key", "`index` has no effect without an `encoder`", where, severity="warning")
    chosen = node.get("type")
    type_ = "auto" if chosen is None else str(chosen.value) if isinstance(chosen, Scalar) else ""
    if type_ not in faiss_index.KEYS:
        return  # unknown, or not known yet
    belongs = {key for keys in faiss_index.KEYS.values() for key in keys}
    for key, item in node.entries.items():
        if key in belongs and key not in faiss_index.KEYS[type_]:
            of = [name for name, keys in faiss_index.KEYS.items() if key in keys]
            found.add(
                "unused-key",
                f"`{key}` has no effect on an index of type {type_}",
                item.key_span,
                severity="warning",
                hint=f"it is of {' and '.join(of)}",
            )
        elif key == "memory" and type_ != "auto":
            found.add(
                "unused-key",
                "`memory` is for `type: auto`, which chooses by it",
                item.key_span,
                severity="warning",
            )


def _check_search(tree: Tree, has_vectors: bool, has_words: bool, found: Diagnostics) -> None:
    node = tree.get("search")
    if not isinstance(node, Scalar) or not is_known(node):
        return
    lacks = []
    if node.value in ("dense", "hybrid") and not has_vectors:
        lacks.append("vectors: give `encoder: {model: …}`")
    if node.value in ("bm25", "hybrid") and not has_words:
        lacks.append("words: give `bm25: true`")
    for what in lacks:
        found.add(
            "conflicting-keys",
            f"`search: {node.value}` needs what the index does not have: {what.partition(':')[0]}",
            node,
            hint=what.partition(": ")[2],
        )


def _items(node: Node | None) -> list[Node]:
    return list(node.items) if isinstance(node, Sequence) else [node] if node is not None else []


def _written(value: object) -> str:
    return (
        f'"{value}"'
        if isinstance(value, str) and value.endswith(" ")
        else str(value).lower()
        if value is True
        else str(value)
    )


def _is_token(value: str) -> bool:
    return TOKEN_OPEN in value or "${" in value


KIND = Index()
