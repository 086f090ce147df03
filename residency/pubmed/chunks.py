"""Records in pieces for retrieval: the title, and as much of the abstract as fits.

A piece ends where a sentence ends, unless one sentence alone is too long. Every piece has the title,
since a passage from the middle of an abstract seldom says what it is about.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from residency.errors import Missing, RecipeInvalid
from residency.paths import mirror_dir

Count = Callable[[str], int]
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'])|\n")

_NAME_ONE = "name a folder with tokenizer.json, or count words (`words: 200`)"


def contents(title: str, text: str) -> str:
    """A passage in the form of Search-R1's corpora: the title in quotation marks, a line break, the text."""
    return f'"{title}"\n{text}'


def words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())


@functools.lru_cache(4)
def tokens_of(tokenizer: str) -> Count:
    """A count of tokens, without those that mark beginning and end.

    Args:
        tokenizer: A folder with tokenizer.json, that file, or a model's name.

    Raises:
        Missing: There is no such tokenizer.
    """
    path = Path(tokenizer).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(file))
        fast.no_truncation()
        fast.no_padding()
        return lambda text: len(fast.encode(text, add_special_tokens=False).ids)
    if tokenizer.startswith(("/", "./", "../", "~")) or path.is_dir():
        raise Missing(f"{tokenizer} holds no tokenizer.json", _NAME_ONE)
    try:
        from transformers import AutoTokenizer

        # With a mirror nothing is fetched from the network.
        slow = AutoTokenizer.from_pretrained(tokenizer, local_files_only=mirror_dir() is not None)
    except ImportError:
        raise Missing(
            "transformers is not installed, and a tokenizer by name needs it",
            "`make install`, or name a folder with tokenizer.json",
        ) from None
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise Missing(f"there is no tokenizer {tokenizer}: {said}", _NAME_ONE) from None
    return lambda text: len(slow.encode(text, add_special_tokens=False))


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long a piece may be."""

    tokens: int | None = None
    words: int | None = None
    tokenizer: str | None = None
    overlap: int = 0
    """Tokens or words of the end of a piece that the next begins with, in whole sentences."""

    @classmethod
    def of(cls, value: Any) -> Chunking | None:
        """The `jsonl:` of a recipe; None for one piece a record."""
        if not isinstance(value, Mapping) or not (value.get("tokens") or value.get("words")):
            return None
        return cls(value.get("tokens"), value.get("words"), value.get("tokenizer"), value.get("overlap") or 0)

    @property
    def most(self) -> int:
        """Its bound."""
        return self.tokens or self.words or 0

    def count(self) -> Count:
        """Counts what the bound is given in."""
        if self.tokens is None:
            return words
        if self.tokenizer is None:
            raise RecipeInvalid("tokens are counted by a tokenizer, and none is named", "add `tokenizer:`")
        return tokens_of(self.tokenizer)


def chunks(title: str, text: str, most: int, count: Count = words, overlap: int = 0) -> list[str]:
    """The pieces of one record, each with the title and at most `most` words or tokens.

    `count` counts what the bound is in. A title that takes more than half of the room is cut.
    """
    title = _cut(title, lambda part: count(contents(part, "")) <= max(1, most // 2)) if most > 1 else ""
    if count(contents(title, text)) <= most:
        return [contents(title, text)]
    fits = lambda body: count(contents(title, body)) <= most  # noqa: E731
    pieces: list[str] = []
    now: list[str] = []
    pending = [part for part in _SENTENCE.split(text) if part.strip()][::-1]
    while pending:
        sentence = pending.pop()
        if fits(" ".join([*now, sentence])):
            now.append(sentence)
        elif now:
            pieces.append(" ".join(now))
            now = _tail(now, overlap, count)
            while now and not fits(" ".join([*now, sentence])):
                now.pop(0)
            pending.append(sentence)
        else:
            start = _cut(sentence, fits) or sentence[:1]
            pieces.append(start)
            if rest := sentence[len(start) :].strip():
                pending.append(rest)
    if now:
        pieces.append(" ".join(now))
    return [contents(title, piece) for piece in pieces]


def _tail(sentences: list[str], overlap: int, count: Count) -> list[str]:
    """The last sentences, no longer together than the overlap."""
    tail: list[str] = []
    for sentence in reversed(sentences):
        if not overlap or count(" ".join([sentence, *tail])) > overlap:
            break
        tail.insert(0, sentence)
    return tail if len(tail) < len(sentences) else tail[1:]


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    """The longest start of a text that fits, at the end of a word where there is one."""
    if fits(text):
        return text
    low, high = 0, len(text)
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle)
    at = text.rfind(" ", 1, low + 1)
    return text[: at if at > 0 else low]


def passages(rows: Iterable[Mapping[str, Any]], how: Chunking | None) -> Iterator[dict[str, str]]:
    """Each record as one passage or several, {"id", "contents"}; the ids are PMID, PMID-2, PMID-3, …"""
    count = how.count() if how else words
    for row in rows:
        title, text, pmid = row["title"], row["abstract"], row["pmid"]
        if how is None:
            yield {"id": str(pmid), "contents": contents(title, text)}
            continue
        for n, piece in enumerate(chunks(title, text, how.most, count, how.overlap), 1):
            yield {"id": str(pmid) if n == 1 else f"{pmid}-{n}", "contents": piece}


def write_jsonl(rows: Iterable[Mapping[str, Any]], out: IO[str], how: Chunking | None) -> int:
    """Write the passages, a line each; how many."""
    n = 0
    for passage in passages(rows, how):
        out.write(json.dumps(passage, ensure_ascii=False) + "\n")
        n += 1
    return n
