"""The documents of an index: one file of JSON lines, read by position or by id without loading it.

`documents.jsonl` has a document a line. `documents.offsets.npy` has the byte at which each line
starts, and the file's size at the end. `documents.ids.npy` has the 64-bit hashes of all ids in
order, with the position of each. The three are mapped into memory, so that a server of a million
documents starts at once and several share the pages.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from residency.errors import StageFailed
from residency.files import atomic

LINES = "documents.jsonl"
OFFSETS = "documents.offsets.npy"
IDS = "documents.ids.npy"
Document = dict[str, Any]


def contents(title: str, text: str) -> str:
    """A document in the form of Search-R1's corpus: the title in quotation marks, then the text."""
    return f'"{title}"\n{text}'


def clean(value: Any) -> str:
    """A value as text that can be written as UTF-8: half a surrogate pair becomes a question mark."""
    text = "" if value is None else str(value).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text


def write(folder: Path, documents: Iterable[Document]) -> tuple[int, str]:
    """Write the documents of an index; returns how many, and the SHA-256 of their file.

    Args:
        folder: The index's folder.
        documents: Each with `id`, `title` and `text`; `contents` is kept only where it is not
            what `contents(title, text)` would give.

    Raises:
        StageFailed: there are none, or an id stands twice.
    """
    import numpy as np

    digest = hashlib.sha256()
    offsets: list[int] = [0]
    hashes: list[int] = []
    with atomic(folder / LINES, "wb") as stream:
        for document in documents:
            given = document.get("contents")
            if given is None or given == contents(document["title"], document["text"]):
                document = {key: value for key, value in document.items() if key != "contents"}
            line = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            offsets.append(offsets[-1] + len(line))
            hashes.append(_hash(str(document["id"])))
    if not hashes:
        raise StageFailed(
            "the corpus has no documents to index",
            "look at the corpus, and at `limit` and what was left out for having no text",
        )
    table = np.empty(len(hashes), dtype=[("hash", "<u8"), ("position", "<u8")])
    table["hash"] = hashes
    table["position"] = np.arange(len(hashes), dtype="<u8")
    table.sort(order=("hash", "position"), kind="stable")
    for path, array in ((OFFSETS, np.asarray(offsets, dtype="<i8")), (IDS, table)):
        with atomic(folder / path, "wb") as stream:
            np.save(stream, array, allow_pickle=False)
    twice = _twice(folder, table)
    if twice is not None:
        raise StageFailed(
            f"two documents of the corpus have the id {twice}",
            "an id names one document: remove one, or number the documents anew",
        )
    return len(hashes), digest.hexdigest()


class Documents:
    """The documents of an index, by position and by id. Safe to read from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the documents in an index's folder.

        Raises:
            StageFailed: a file is missing or cut short.
        """
        import numpy as np

        try:
            self._offsets = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            self._ids = np.load(folder / IDS, mmap_mode="r", allow_pickle=False)
            with (folder / LINES).open("rb") as stream:
                self._lines = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise StageFailed(
                f"the documents of the index {folder} cannot be read: {error}", "make the index again"
            ) from error
        if len(self._lines) != int(self._offsets[-1]) or len(self._ids) != len(self):
            raise StageFailed(
                f"{folder / LINES} has {len(self._lines):,} bytes where {int(self._offsets[-1]):,} were "
                "written",
                "the file was changed or cut short: make the index again",
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> Document:
        """The document at a position, with its `contents`."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        document: Document = json.loads(self._lines[start:end])
        if "contents" not in document:
            document["contents"] = contents(document["title"], document["text"])
        return document

    def __iter__(self) -> Iterator[Document]:
        return (self[position] for position in range(len(self)))

    def position(self, id_: str) -> int | None:
        """Where the document of that id is, or None."""
        import numpy as np

        wanted = _hash(id_)
        first = int(np.searchsorted(self._ids["hash"], np.uint64(wanted)))
        for row in self._ids[first:]:
            if int(row["hash"]) != wanted:
                break
            if str(self[int(row["position"])]["id"]) == id_:
                return int(row["position"])
        return None

    def by_id(self, id_: str) -> Document | None:
        """The document of that id, or None."""
        found = self.position(str(id_))
        return None if found is None else self[found]


def _hash(id_: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _twice(folder: Path, table: Any) -> str | None:
    """An id that two documents have, or None."""
    import numpy as np

    same = np.flatnonzero(table["hash"][1:] == table["hash"][:-1])
    if not len(same):
        return None
    documents = Documents(folder)
    for at in same:
        first, second = (str(documents[int(table["position"][i])]["id"]) for i in (at, at + 1))
        if first == second:
            return first
    return None
