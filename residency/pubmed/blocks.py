"""PubMed XML as a stream of small parsed trees, in little memory and at the parser's own speed.

A baseline file is one element with 30,000 children. Instead of taking an event for each, the
bytes are cut after an `</PubmedArticle>` about every 512 KiB, each block is wrapped in the
document's own start tag and parsed in one go, without the white space that only lays out the
file (half of all its nodes). That is as exact as parsing the whole as long
as the text `</PubmedArticle>` occurs nowhere but as that tag; NLM's files are like that. A
file that is not (the tag in a comment or in CDATA, an encoding other than UTF-8, an internal
DTD subset, another layout) is read from there on by lxml's `iterparse`, which knows all XML.
"""

from __future__ import annotations

import copy
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lxml import etree

from residency.errors import Missing, StageFailed

BLOCK = 512 * 1024
LARGEST_RECORD = 64 * 1024 * 1024
ROOTS = ("PubmedArticleSet", "PubmedBookArticleSet")
RECORDS = ("PubmedArticle", "PubmedBookArticle", "DeleteCitation")
_FETCH_ANEW = "delete it and run again to fetch it anew"
_END = b"</PubmedArticle>"
_ROOT_END = b"</PubmedArticleSet>"
_START = re.compile(rb"<PubmedArticle[\s>]")
_PMID = re.compile(rb"<PMID[^>]*>\s*(\d+)")
_GZIP = b"\x1f\x8b"
_ROOT = re.compile(
    rb"\A\s*(?:<\?xml[^>]*\?>\s*)?(?:<!DOCTYPE[^\[\]>]*>\s*)?(<PubmedArticleSet[^>/]*>)", re.DOTALL
)
_ENCODING = re.compile(rb"\A\s*<\?xml[^>]*encoding\s*=\s*[\"'](?!utf-?8[\"'])", re.IGNORECASE)
# Elements in which white space is text: the text elements of NLM's DTD with their markup, and
# MathML's presentation elements, whose prefix that DTD fixes. Declared so, the parser keeps it there.
_TEXT = (
    *("ArticleTitle", "VernacularTitle", "AbstractText", "Title", "BookTitle", "CollectiveName"),
    *("Affiliation", "Keyword", "Citation", "CoiStatement", "CopyrightInformation", "DispFormula"),
    *("b", "i", "u", "sub", "sup"),
)
_MATH = (
    *("math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mstyle", "mpadded", "mphantom"),
    *("msup", "msub", "msubsup", "mover", "munder", "munderover", "mmultiscripts", "mprescripts", "none"),
    *("mfrac", "msqrt", "mroot", "mfenced", "menclose", "merror", "maction", "semantics", "annotation"),
    *("annotation-xml", "mtable", "mtr", "mtd", "mlabeledtr", "maligngroup", "malignmark"),
)
_DECLARED = "".join(f"<!ELEMENT {name} ANY>" for name in [*_TEXT, *(f"mml:{name}" for name in _MATH)])
_DOCTYPE = f"<!DOCTYPE PubmedArticleSet [{_DECLARED}]>".encode()
_OPTIONS: dict[str, Any] = {
    # Nothing outside the file is read and no entity is expanded: a file is only data.
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": True,
    "remove_comments": True,
    "remove_pis": True,
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that is no well-formed XML."""

    path: Path
    offset: int
    """The byte at which it begins, in the file as it is without gzip."""
    pmid: str
    """As far as it can be made out, or ""."""
    reason: str


def trees(path: Path, broken: Callable[[Broken], None] | None = None) -> Iterator[Any]:
    """Elements whose children are the file's records, a few at a time, in their order.

    Args:
        path: A file of PubMed XML, gzipped or not.
        broken: Is told of a record that is not well-formed, and the others are given; without
            it such a record is an error. A file that is cut short is always one.

    Raises:
        Missing: There is no such file.
        StageFailed: The file is cut short, broken, or not PubMed XML.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
            yield from _trees(path, stream, broken)
    except FileNotFoundError:
        raise Missing(f"{path} is not there") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StageFailed(f"{path} is cut short or damaged: {error}", _FETCH_ANEW) from None


def _trees(path: Path, stream: IO[bytes], broken: Callable[[Broken], None] | None) -> Iterator[Any]:
    """The trees of one open file: by blocks, or else by events."""
    done = 0
    at = None  # where the first block that cannot be parsed begins
    parser = _parser()
    try:
        for offset, start, block, end in _blocks(stream):
            at = offset
            tree = etree.fromstring(b"".join((start, block, end)), parser)
            yield tree
            done += len(tree)
    except (etree.XMLSyntaxError, _OtherLayout) as error:
        stream.seek(0)
        if broken is None or at is None or isinstance(error, _OtherLayout) or _well_formed(stream):
            # From the start again, without what was given already.
            stream.seek(0)
            yield from _events(path, stream, done)
        else:
            stream.seek(0)
            yield from _salvaged(path, stream, at, broken)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(collect_ids=False, remove_blank_text=True, **_OPTIONS)


def _well_formed(stream: IO[bytes]) -> bool:
    """Whether the whole of it is."""
    try:
        for _, element in etree.iterparse(stream, events=("end",), tag=RECORDS, **_OPTIONS):
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError:
        return False
    return True


def _salvaged(path: Path, stream: IO[bytes], first: int, broken: Callable[[Broken], None]) -> Iterator[Any]:
    """The trees from the block at `first` on; where one cannot be parsed, each record by itself."""
    parser = _parser()
    for offset, start, block, end in _blocks(stream):
        if not end and _ROOT_END not in block:
            raise StageFailed(f"{path} is cut short: it does not end in {_ROOT_END.decode()}", _FETCH_ANEW)
        if offset < first:
            continue
        try:
            yield etree.fromstring(b"".join((start, block, end)), parser)
        except etree.XMLSyntaxError:
            for at, record in _single(block if end else block.rpartition(_ROOT_END)[0]):
                try:
                    yield etree.fromstring(b"".join((start, record, _ROOT_END)), parser)
                except etree.XMLSyntaxError as error:
                    pmid = _PMID.search(record)
                    broken(
                        Broken(path, offset + at, pmid[1].decode() if pmid else "", error.msg or "not XML")
                    )


def _single(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each record in a block: from a start tag to its end tag, or to the next start.

    What stands between two records (books, deletions) counts as one.
    """
    starts = [match.start() for match in _START.finditer(block)]
    for begin, stop in zip([0, *starts], [*starts, len(block)], strict=True):
        piece = block[begin:stop]
        cut = piece.find(_END)
        cut = cut + len(_END) if cut >= 0 else len(piece)
        for at, part in ((begin, piece[:cut]), (begin + cut, piece[cut:])):
            text = part.lstrip()
            if text:
                yield at + len(part) - len(text), text


class _OtherLayout(Exception):
    """The file is not laid out as the blocks need it."""


def _blocks(stream: IO[bytes]) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """(offset, head, whole records, end): the last three together are a well-formed document.

    The end is empty for the last block, which has its own.
    """
    head = stream.read(BLOCK)
    root = _ROOT.match(head)
    if root is None or _ENCODING.match(head):
        raise _OtherLayout
    start = _DOCTYPE + root.group(1)
    offset = root.end()
    pending, searched = head[offset:], 0
    while True:
        cut = pending.rfind(_END, searched)
        if cut >= 0:
            cut += len(_END)
            yield offset, start, pending[:cut], _ROOT_END
            pending = pending[cut:]
            offset += cut
        more = stream.read(BLOCK)
        if not more:
            # What follows the last record holds DeleteCitation and the root's end tag.
            yield offset, start, pending, b""
            return
        # The tag may lie across two reads.
        searched = max(0, len(pending) - len(_END))
        pending += more
        if len(pending) > LARGEST_RECORD:
            raise _OtherLayout


def _events(path: Path, stream: IO[bytes], skip: int) -> Iterator[Any]:
    """Each record as a tree of its own, through `iterparse`; the first `skip` are passed over."""
    seen = 0
    events = etree.iterparse(stream, events=("end",), tag=RECORDS, **_OPTIONS)
    try:
        for _, record in events:
            seen += 1
            if seen > skip:
                holder = etree.Element("PubmedArticleSet")
                holder.append(copy.deepcopy(record))
                yield holder
            record.clear()
            parent = record.getparent()
            while parent is not None and record.getprevious() is not None:
                del parent[0]
    except etree.XMLSyntaxError as error:
        raise StageFailed(f"{path} is not whole, well-formed XML: {error.msg}", _FETCH_ANEW) from None
    if not seen and events.root.tag not in ROOTS:
        raise StageFailed(
            f"{path} is not PubMed XML: its root element is {events.root.tag}",
            "a PubMed file has the root element PubmedArticleSet with PubmedArticle in it",
        )
