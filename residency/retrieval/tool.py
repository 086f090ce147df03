"""The search tool that a model calls while it answers: looks queries up at a retrieval server.

What it needs is in the environment, where a recipe puts it under `env:`:

    RESIDENCY_SEARCH_URL         the server: ${services.retriever.url}
    RESIDENCY_SEARCH_TOPK        documents for each query (3)
    RESIDENCY_SEARCH_TOKENS      tokens of what the model is told, all queries together (1024)
    RESIDENCY_SEARCH_TOKENIZER   the checkpoint whose tokenizer counts them; without it they are estimated
    RESIDENCY_SEARCH_QUERIES     queries of one call that are looked up; further ones are not (8)
    RESIDENCY_SEARCH_SECONDS     how long one call may try (25)
    RESIDENCY_SEARCH_TOKEN       the server's token, where it wants one
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from residency.errors import RecipeInvalid
from residency.retrieval.client import Patience, retrieve

URL, TOPK, TOKENS = "RESIDENCY_SEARCH_URL", "RESIDENCY_SEARCH_TOPK", "RESIDENCY_SEARCH_TOKENS"
TOKENIZER, QUERIES = "RESIDENCY_SEARCH_TOKENIZER", "RESIDENCY_SEARCH_QUERIES"
SECONDS = "RESIDENCY_SEARCH_SECONDS"
BETWEEN = "\n---\n"
"""Between the results of two queries."""
NOTHING = "No documents were found for this query."
LONGEST_QUERY = 2_000
"""Characters of a query that are looked up: a model that rambles must not be refused by the server."""
_PIECE = re.compile(r"\w{1,5}|[^\w\s]")
"""About a token of a subword vocabulary; numbers and long words have several."""


def search(query_list: list[str]) -> str:
    """Search the literature and return the documents that answer each query best.

    Args:
        query_list: What to look up, one question or a few keywords each, for example
            ["aspirin colorectal cancer prevention", "aspirin bleeding risk in the elderly"].
    """
    queries = _queries(query_list)
    url = os.environ.get(URL, "").strip()
    if not url:
        raise RecipeInvalid(
            f"{URL} is not set, so that nothing can be looked up",
            f"in the recipe: env: {{{URL}: ${{services.retriever.url}}}}",
        )
    topk = _number(TOPK, 3)
    asked = list(dict.fromkeys(query for query in queries if query))
    found = retrieve(url, asked, topk, Patience(seconds=float(_number(SECONDS, 25)))) if asked else []
    by_query = dict(zip(asked, found, strict=True))
    results = [[hit["document"] for hit in by_query.get(query, [])] for query in queries]
    return told(results, _number(TOKENS, 1024), _cutter())


def _queries(given: Any) -> list[str]:
    """The queries as the server takes them. Raises ValueError when there is none."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple) or not all(isinstance(query, str) for query in given):
        raise ValueError('query_list must be a list of texts, such as ["aspirin colorectal cancer"]')
    # Half characters, which a model's tokens can make, are in no document.
    sound = [" ".join(query.encode("utf-8", "ignore").decode().split())[:LONGEST_QUERY] for query in given]
    if not any(sound):
        raise ValueError("the query is empty")
    return sound[: _number(QUERIES, 8)]


def told(results: Sequence[Sequence[dict[str, Any]]], tokens: int, cut: Cut) -> str:
    """The results as the model reads them.

    The form is that of Search-R1's tool and verl's: `Doc 1 (Title: T)` and the text below it for each
    document, an empty line between documents, `---` between queries.

    Args:
        results: The documents of each query.
        tokens: Tokens of all texts together. Each document gets an equal share; what a short one does
            not need goes to those after it.
        cut: Cuts a text to a number of tokens; returns it with the number that it has.
    """
    left, documents = tokens, sum(map(len, results))
    said: list[str] = []
    for hits in results:
        shown: list[str] = []
        for place, document in enumerate(hits, 1):
            text, used = cut(_entry(place, document), left // max(1, documents))
            left, documents = left - used, documents - 1
            if text:
                shown.append(text)
        said.append("\n\n".join(shown) if shown else NOTHING)
    return BETWEEN.join(said)


def _entry(place: int, document: dict[str, Any]) -> str:
    contents = document.get("contents")
    if not isinstance(contents, str):
        contents = f"{document.get('title', '')}\n{document.get('text', '')}"
    title, _, text = contents.partition("\n")
    return f"Doc {place} (Title: {title})\n{text}".strip()


# ---- tokens

Cut = Callable[[str, int], tuple[str, int]]


def estimated(text: str, tokens: int) -> tuple[str, int]:
    """The beginning of a text that has so many tokens, by an estimate, and how many it has."""
    count = 0
    for count, piece in enumerate(_PIECE.finditer(text), 1):
        if count > tokens:
            return text[: piece.start()].rstrip(), tokens
    return text, count


def _cutter() -> Cut:
    folder = os.environ.get(TOKENIZER, "").strip()
    return _exact(folder) if folder else estimated


@functools.cache
def _exact(folder: str) -> Cut:
    """Cuts by the tokenizer in a checkpoint's folder."""
    from tokenizers import Tokenizer

    path = Path(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise RecipeInvalid(f"{TOKENIZER}={folder}: no tokenizer can be read there: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def cut(text: str, tokens: int) -> tuple[str, int]:
        encoded = tokenizer.encode(text, add_special_tokens=False)
        count = len(encoded.ids)
        if count <= tokens:
            return text, count
        end = encoded.offsets[tokens - 1][1] if tokens > 0 else 0
        return text[:end].rstrip(), max(0, tokens)

    return cut


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "").strip()
    if not given:
        return default
    if not given.isdecimal() or int(given) < 1:
        raise RecipeInvalid(f"{name} is {given!r}, and must be a whole number of 1 or more")
    return int(given)
