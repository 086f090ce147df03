"""The files of a corpus recipe's sources, one after the other, each checked against the .md5 beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines.corpus.spec import LICENCE, expand
from residency.errors import Missing
from residency.files import CHUNK
from residency.sources import fetch
from residency.sources.spec import scheme

_MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that is on this disk."""

    source: str
    """The source's name in the recipe."""
    url: str
    path: Path
    sha256: str
    md5: str | None
    """As the file beside it gives it; None where there is none."""
    bytes: int
    licence: str
    origin: str
    """`network`, `mirror`, `cache` or `file`."""

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        about = {"source": self.source, "url": self.url, "file": self.path.name, "bytes": self.bytes}
        return {**about, "sha256": self.sha256, "md5": self.md5, "licence": self.licence}


def files(
    sources: Mapping[str, Mapping[str, Any]],
    *,
    cache: Path,
    mirror: Path | None,
    base: Path,
    tell: Callable[[str], None],
) -> Iterator[SourceFile]:
    """Every file of every source, in their order, fetched as it is its turn.

    Raises:
        Missing: A file is not there, cannot be fetched, or is not the one that its .md5 means.
    """
    for name, value in sources.items():
        urls = expand(str(value["url"]))
        for url in urls:
            got = fetch({**value, "url": url}, cache=cache, mirror=mirror, base=base, report=tell)
            md5 = None
            if scheme(url) != "pypi" and not value.get("member") and not value.get("unpack"):
                md5 = _beside(url, cache=cache, mirror=mirror, base=base, needed=len(urls) > 1)
                _same(got.path, md5, url)
            licence = got.licence or LICENCE
            for path in got.files:
                if path.suffix == ".md5":
                    continue
                yield SourceFile(name, got.url, path, got.sha256, md5, got.bytes, licence, got.from_)


def _beside(url: str, *, cache: Path, mirror: Path | None, base: Path, needed: bool) -> str | None:
    """The MD5 in `URL.md5`, or None where there is no such file and none is needed."""
    try:
        got = fetch({"url": f"{url}.md5"}, cache=cache, mirror=mirror, base=base)
    except Missing:
        # A mirror, or files on this disk, may have been copied without theirs.
        if needed and mirror is None and scheme(url) in ("https", "http"):
            raise
        return None
    found = _MD5.search(got.path.read_text(encoding="utf-8", errors="replace")[:2000])
    if found is None:
        raise Missing(f"{got.path} holds no MD5", "it should say `MD5(FILE)= ` and 32 hex digits")
    return found[0].lower()


def _same(path: Path, md5: str | None, url: str) -> None:
    """Raise Missing unless the file has that MD5."""
    if md5 is None or not path.is_file():
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise Missing(
            f"{url} is not what {url}.md5 says: md5 {digest.hexdigest()} came, {md5} is expected",
            f"it lies at {path}; delete it and run again to fetch it anew",
        )
