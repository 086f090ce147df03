"""PubMed's filters (`humans[Filter]`, `y_5[Filter]`, `hasabstract`) as the queries that stand behind them.

From the table of filters in PubMed's user guide. A filter by article type is its publication type, by
language the language. What depends on PubMed's own processing (full text, subsets) a corpus cannot tell.
"""

from __future__ import annotations

from residency.retrieval.boolean import languages

ABSTRACT = "hasabstract"
"""A filter and a word that PubMed takes without a tag."""
EVERYTHING = "all"

_QUERIES = {
    "humans": "humans[mh]",
    "human": "humans[mh]",
    "animal": "animals[mh:noexp]",
    "animals": "animals[mh:noexp]",
    "otheranimals": "animals[mh:noexp]",
    "female": "female[mh]",
    "male": "male[mh]",
    "allinfant": "infant[mh]",
    "infant": "infant[mh:noexp]",
    "newborn": '"infant, newborn"[mh]',
    "allchild": "infant[mh] OR child[mh] OR adolescent[mh]",
    "preschoolchild": '"child, preschool"[mh]',
    "child": "child[mh:noexp]",
    "adolescent": "adolescent[mh]",
    "alladult": "adult[mh]",
    "youngadult": '"young adult"[mh]',
    "adult": "adult[mh:noexp]",
    "middleagedaged": '"middle aged"[mh] OR aged[mh]',
    "middleaged": '"middle aged"[mh]',
    "aged": "aged[mh]",
    "80andover": '"aged, 80 and over"[mh]',
    "systematic": '"systematic review"[pt]',
    "excludepreprints": "all[sb] NOT preprint[pt]",
}


def squeeze(text: str) -> str:
    """A filter's name without blanks and punctuation: `Meta-Analysis` is `metaanalysis`."""
    return "".join(c for c in text.lower() if c.isalnum())


def query(name: str) -> str | None:
    """The query that a filter stands for; None for one by publication type, and for one unknown."""
    squeezed = squeeze(name)
    if squeezed in _QUERIES:
        return _QUERIES[squeezed]
    if squeezed in languages.CODES:
        return f'"{squeezed}"[la]'
    if (
        squeezed.startswith("y")
        and squeezed[1:].isascii()
        and squeezed[1:].isdecimal()
        and len(squeezed) <= 5
    ):
        return f'"last {int(squeezed[1:])} years"[dp]'
    return None
