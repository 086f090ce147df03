"""What an answer of the E-utilities says, and whether it is one.

A busy NCBI answers with status 200 and an error inside, with half an answer, or with a page of HTML.
Each function raises `Unsound` for what another attempt may better, and `Refused` for what it may not.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lxml import etree


class Unsound(Exception):
    """No answer, or half of one; ask again."""


class Refused(Exception):
    """The server will not answer this, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Search:
    """What ESearch found."""

    count: int
    """Records in all, of which `ids` may be a part."""
    ids: tuple[int, ...]
    translation: str = ""
    """The query as PubMed understood it."""
    warnings: tuple[str, ...] = ()
    """Phrases and fields that it does not know, and what else it says."""


# What no second attempt changes, in the words of the server.
_FINAL = re.compile(
    r"empty term|invalid db|wrong db|cannot be larger than|api key|unknown (?:db|field)", re.I
)
_SHOWN = 200


def search(content: bytes, retstart: int, retmax: int, cap: int) -> Search:
    """An answer of ESearch in JSON.

    Args:
        content: The answer.
        retstart: The first record that was asked for.
        retmax: How many were asked for.
        cap: The last that the server gives.
    """
    found = _json(content)
    result = found.get("esearchresult")
    if not isinstance(result, dict):
        raise Unsound(f"an answer without a result: {_short(content)}")
    _errors(result)
    try:
        count = int(result["count"])
        ids = tuple(int(text) for text in result["idlist"])
    except (KeyError, TypeError, ValueError):
        raise Unsound(f"an answer without count or ids: {_short(content)}") from None
    wanted = max(0, min(retmax, count - retstart, cap - retstart))
    if len(ids) != wanted or len(set(ids)) != len(ids):
        raise Unsound(f"{len(ids)} ids where {wanted} are due")
    return Search(count, ids, str(result.get("querytranslation") or ""), _warnings(result))


def pmids(content: bytes) -> list[int]:
    """The PMIDs of the records, books included, in an answer of EFetch in XML; it may have none."""
    start = content[:2000].lstrip().lower()
    if not content.strip():
        raise Unsound("an empty answer")
    if start.startswith((b"<!doctype html", b"<html")):
        raise Unsound("a page of HTML instead of records")
    if start.startswith(b"{"):
        _errors(_json(content))
        raise Unsound("JSON instead of XML")
    try:
        root = etree.fromstring(
            content,
            etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True),
        )
    except etree.XMLSyntaxError as error:
        raise Unsound(f"XML that is not whole: {error.msg}") from None
    for error in root.iter("ERROR"):
        _final(error.text or "an error without words")
    if root.tag != "PubmedArticleSet":
        raise Unsound(f"<{root.tag}> instead of records")
    found = []
    for record in root:
        if record.tag in ("PubmedArticle", "PubmedBookArticle"):
            pmid = record.find(
                "MedlineCitation/PMID" if record.tag == "PubmedArticle" else "BookDocument/PMID"
            )
            text = (pmid.text or "").strip() if pmid is not None else ""
            if text.isdecimal():
                found.append(int(text))
    return found


def error_text(content: bytes) -> str:
    """What an answer with an error status says, in a few words."""
    match = re.search(rb"<ERROR>(.*?)</ERROR>", content, re.S)
    if match:
        return _plain(match[1].decode("utf-8", "replace"))
    try:
        found = json.loads(content, strict=False)
    except (ValueError, UnicodeDecodeError):
        return ""
    if isinstance(found, dict):
        inner = found.get("esearchresult")
        text = found.get("error") or (inner.get("ERROR") if isinstance(inner, dict) else None)
        return _plain(str(text)) if text else ""
    return ""


def _json(content: bytes) -> dict[str, Any]:
    try:
        # An error text of the server holds line breaks as they are.
        found = json.loads(content, strict=False)
    except (ValueError, UnicodeDecodeError, RecursionError):
        raise Unsound(f"no JSON: {_short(content)}") from None
    if not isinstance(found, dict):
        raise Unsound(f"no answer: {_short(content)}")
    if found.get("error"):
        _final(str(found["error"]))
    return found


def _errors(result: dict[str, Any]) -> None:
    text = result.get("ERROR") or result.get("error")
    if text:
        _final(str(text))


def _final(text: str) -> None:
    """Raise for an error that the server states."""
    raise (Refused if _FINAL.search(text) else Unsound)(f"the server says: {_plain(text)}")


def _warnings(result: dict[str, Any]) -> tuple[str, ...]:
    found = []
    for block in ("errorlist", "warninglist"):
        lists = result.get(block)
        for kind, values in lists.items() if isinstance(lists, dict) else ():
            for value in values if isinstance(values, list) else []:
                words = {
                    "phrasesnotfound": "not found",
                    "quotedphrasesnotfound": "not found",
                    "fieldsnotfound": "no such field",
                    "phrasesignored": "ignored",
                }
                said = words.get(kind)
                found.append(f"{said}: {value}" if said else str(value))
    return tuple(text for text in found if "start and count adjusted" not in text)


def _short(content: bytes) -> str:
    return repr(_plain(content[:_SHOWN].decode("utf-8", "replace")))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:_SHOWN]
