"""What can be seen of a PubMed query without asking PubMed: brackets, quotation marks, fields."""

from __future__ import annotations

import re

FIELDS = {
    **{"ad": "affiliation", "all": "all fields", "aid": "article identifier", "au": "author"},
    **{"auid": "author - identifier", "book": "book", "cois": "conflict of interest statements"},
    **{"cn": "corporate author", "crdt": "date - create", "dcom": "date - completion", "rn": "ec/rn number"},
    **{
        "ed": "editor",
        "edat": "date - entry",
        "filter": "filter",
        "sb": "subset",
        "1au": "first author name",
    },
    **{"fau": "author - full", "fir": "full investigator name", "gr": "grants and funding"},
    **{
        "ir": "investigator",
        "isbn": "isbn",
        "ip": "issue",
        "ta": "journal",
        "jour": "journal",
        "la": "language",
    },
    **{"lang": "language", "lastau": "last author name", "lid": "location id", "mhda": "date - mesh"},
    **{"majr": "mesh major topic", "sh": "mesh subheading", "mh": "mesh terms", "lr": "date - modification"},
    **{"mdat": "date - modification", "jid": "nlm unique id", "ot": "other term", "own": "owner"},
    **{"pg": "pagination", "ps": "personal name as subject", "pa": "pharmacological action"},
    **{"pl": "place of publication", "pmid": "pmid", "uid": "pmid", "pubn": "publisher"},
    **{"dp": "date - publication", "pdat": "date - publication", "ppdat": "print publication date"},
    **{"epdat": "electronic publication date", "pt": "publication type", "ptyp": "publication type"},
    **{"si": "secondary source id", "nm": "supplementary concept", "tw": "text word", "ti": "title"},
    **{"titl": "title", "tiab": "title/abstract", "tt": "transliterated title", "vi": "volume"},
    **{"mesh": "mesh terms", "pmcid": "pmcid", "doi": "doi", "word": "text word", "auth": "author"},
}
"""PubMed's fields: tag → long name. Both may stand in brackets."""
_LONG = {*FIELDS.values(), "subheading", "text words", "mesh", "title", "author name", "publication date"}
_LONG |= {"entry date", "entrez date", "create date", "completion date", "mesh date", "modification date"}
_TAG = re.compile(r"\[([^\[\]]*)\]")
_PROXIMITY = re.compile(r":~\d+$|:noexp$", re.IGNORECASE)


def problem(query: str) -> str | None:
    """What is wrong with the brackets and quotation marks of a query, or None."""
    if not query.strip():
        return "is empty"
    if query.count('"') % 2:
        return 'has a quotation mark (") that is never closed'
    text = re.sub(r'"[^"]*"', '""', query)
    for opening, closing in ("()", "[]"):
        depth = 0
        for letter in text:
            depth += (letter == opening) - (letter == closing)
            if depth < 0:
                return f"has a {closing} without its {opening}"
        if depth:
            return f"has a {opening} that is never closed"
    return None


def unknown_fields(query: str) -> list[str]:
    """What stands in square brackets and is no field of PubMed's."""
    text = re.sub(r'"[^"]*"', '""', query)
    found = []
    for tag in _TAG.findall(text):
        name = _PROXIMITY.sub("", tag.strip().lower())
        if name not in FIELDS and name not in _LONG:
            found.append(tag.strip())
    return list(dict.fromkeys(found))
