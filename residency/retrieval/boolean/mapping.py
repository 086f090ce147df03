"""What untagged words mean: PubMed's automatic term mapping, with the names that an index has.

From the left the longest run of words is taken that is a name of a MeSH heading, a subheading or a
publication type, else of a journal, else of an author. It is searched as that and, in all fields, as its
words. What is no name is searched in all fields. Stop words count in names alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from residency.retrieval.boolean import subheadings
from residency.retrieval.boolean.collect import LONGEST_NAME, PART
from residency.retrieval.boolean.documents import author
from residency.retrieval.boolean.fields import ALL
from residency.retrieval.boolean.index import Index
from residency.retrieval.boolean.meaning import Leaf, Matching, Meaning, Names, Steps, Text
from residency.retrieval.boolean.text import STOPWORDS, key, patterns


@dataclass(slots=True)
class Mapped:
    """What came of a run of words."""

    parts: list[Meaning] = field(default_factory=list)
    """To be joined by AND."""
    ignored: list[str] = field(default_factory=list)


def in_all_fields(words: Sequence[str], *, quiet: bool = False) -> Text:
    """Words as a phrase in all fields."""
    return Text(tuple(words), ALL.zones, f'"{" ".join(words)}"[{ALL.name}]', quiet)


def heading(name: str, *, noexp: bool = False, major: bool = False, quiet: bool = False) -> Names:
    """A MeSH heading, with those beneath it unless `noexp`."""
    kind = ("mj" if major else "mh") + ("" if noexp else "x")
    tag = ("MeSH Major Topic" if major else "MeSH Terms") + (":noexp" if noexp else "")
    at = key(name)
    return Names((f"{kind}{PART}{at}",), f'"{name}"[{tag}]', tuple(at.split()), quiet)


def heading_with(name: str, subheading: str, *, noexp: bool = False, major: bool = False) -> Names:
    """A MeSH heading with a subheading, each with those beneath it unless `noexp`."""
    kind = ("jq" if major else "mq") + ("" if noexp else "x")
    tag = ("MeSH Major Topic" if major else "MeSH Terms") + (":noexp" if noexp else "")
    at = key(name)
    below = (subheading,) if noexp else subheadings.narrower(subheading)
    names = tuple(f"{kind}{PART}{at}{PART}{key(q)}" for q in below)
    return Names(names, f'"{name}/{subheading}"[{tag}]', (*at.split(), *key(subheading).split()))


def subheading(name: str, *, noexp: bool = False) -> Names:
    """A subheading of any heading."""
    below = (name,) if noexp else subheadings.narrower(name)
    tag = "MeSH Subheading:noexp" if noexp else "MeSH Subheading"
    return Names(tuple(f"sh{PART}{key(q)}" for q in below), f'"{name}"[{tag}]', tuple(key(name).split()))


def publication_type(name: str, *, noexp: bool = False) -> Names:
    """A publication type, with those beneath it unless `noexp`."""
    tag = "Publication Type:noexp" if noexp else "Publication Type"
    return Names((f"{'pt' if noexp else 'ptx'}{PART}{key(name)}",), f'"{name}"[{tag}]')


def journal(name: str) -> Names:
    """A journal by any of its names."""
    at = key(name)
    return Names((f"ta{PART}{at}",), f'"{name}"[Journal]')


def written_by(name: str, *, role: str = "au", tag: str = "Author", quoted: bool = False) -> Names | Matching:
    """An author. Initials that are left out may be any, unless the name is quoted."""
    at = author(name)
    if quoted:
        return Names((f"{role}{PART}{at}",), f'"{at}"[{tag}]')
    parts = at.split()
    initials = len(parts) > 1 and len(parts[-1]) <= 2
    pattern = re.escape(at) + (r"\w{0,2}(?: .*)?" if initials else "(?: .*)?")
    return Matching(role, at, pattern, f"{at}[{tag}]")


def any_of(parts: Sequence[Leaf | Steps]) -> Meaning:
    """Alternatives."""
    return Steps(parts[0], [("OR", part) for part in parts[1:]]) if len(parts) > 1 else parts[0]


def all_of(parts: Sequence[Meaning]) -> Meaning:
    """All of them."""
    return Steps(parts[0], [("AND", part) for part in parts[1:]]) if len(parts) > 1 else parts[0]


def map_words(index: Index, units: Sequence[str]) -> Mapped:
    """The meaning of words without a tag, `*` or quotation marks.

    Args:
        index: Whose names count.
        units: The words as they were written; a hyphenated one is one unit of several words.
    """
    mapped = Mapped()
    words = [tuple(patterns(unit)) for unit in units]
    at = 0
    while at < len(units):
        if not words[at]:
            at += 1
            continue
        combined = _with_subheading(index, units, at)
        if combined:
            part, at = combined
            mapped.parts.append(part)
            continue
        if "/" in units[at]:  # no subheading: the slash parts words
            apart = map_words(index, units[at].replace("/", " ").split())
            mapped.parts += apart.parts
            mapped.ignored += apart.ignored
            at += 1
            continue
        for end in range(_reach(index, words, at), at, -1):
            part = _named(index, words[at:end])
            if part is not None:
                mapped.parts.append(part)
                at = end
                break
        else:
            if all(word in STOPWORDS for word in words[at]):
                mapped.ignored += words[at]
            else:
                mapped.parts.append(in_all_fields(words[at]))
            at += 1
    return mapped


def _reach(index: Index, words: Sequence[tuple[str, ...]], at: int) -> int:
    """Up to which word a name that begins here can go: as long as some name goes on like that."""
    end, said = at + 1, " ".join(words[at])
    while end < min(len(words), at + LONGEST_NAME) and (
        index.goes_on(said) or any(name.startswith(said + " ") for name in subheadings.NAMES)
    ):
        said = " ".join((said, *words[end]))
        end += 1
    return end


def _with_subheading(index: Index, units: Sequence[str], at: int) -> tuple[Names, int] | None:
    """`diabetes mellitus/drug therapy` that begins at a unit, and where it ends."""
    slash = next((n for n in range(at, min(len(units), at + LONGEST_NAME)) if "/" in units[n]), None)
    if slash is None:
        return None
    left, _, right = units[slash].partition("/")
    headings = headings_of(index, key(" ".join((*units[at:slash], left))))
    for end in range(min(len(units), slash + 4), slash, -1):
        name = subheadings.named(" ".join((right, *units[slash + 1 : end])))
        if headings and name:
            return heading_with(headings[0], name), end
    return None


def headings_of(index: Index, at: str) -> tuple[str, ...]:
    """The headings of a name, or of its plural or singular."""
    found = index.subject("m", at)
    if not found and len(at) > 3:
        for other in (at + "s", at.removesuffix("s"), at.removesuffix("y") + "ies"):
            found = found or (index.subject("m", other) if other != at else ())
    return found


def _named(index: Index, units: Sequence[tuple[str, ...]]) -> Meaning | None:
    """What a run of words is the name of; None where it is none."""
    words = [word for unit in units for word in unit]
    at = " ".join(words)
    if len(words) == 1 and at in STOPWORDS:
        return None
    tagged: list[Leaf] = []
    others: list[str] = []
    for name in headings_of(index, at):
        tagged.append(heading(name, quiet=True))
        others.append(name)
    below = subheadings.NAMES.get(at)
    if below:
        tagged.append(subheading(below))
    tagged += [publication_type(name) for name in index.subject("p", at)]
    if not tagged:
        tagged = [journal(name) for name in index.subject("j", at)]
    if not tagged and len(units) > 1 and len(words[-1]) <= 2:
        by = written_by(at)
        if isinstance(by, Matching) and index.has_name(by.kind, by.prefix, by.pattern):
            return by
    if not tagged:
        return None
    parts: list[Leaf | Steps] = list(tagged)
    hyphenated = len(units) == 1 and len(words) > 1
    for said in dict.fromkeys((*(tuple(key(name).split()) for name in others), tuple(words))):
        if all(word in STOPWORDS for word in said):
            continue
        # As PubMed: no search for the single words where one is a number or a letter.
        apart = len(said) > 1 and not hyphenated and not any(len(w) == 1 or w.isdecimal() for w in said)
        single = [in_all_fields([word], quiet=True) for word in said if word not in STOPWORDS]
        if apart and len(single) > 1:
            parts.append(Steps(single[0], [("AND", leaf) for leaf in single[1:]]))
        parts.append(in_all_fields(said, quiet=True))
    return any_of(parts)
