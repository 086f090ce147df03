"""A query's tree as what it means: fields, names and dates looked up, stop words left out, warnings said."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from residency.retrieval.boolean import dates, filters, languages, mapping, subheadings
from residency.retrieval.boolean.collect import PART
from residency.retrieval.boolean.engine import QueryRejected
from residency.retrieval.boolean.fields import ALL, DATE, MAJOR, MESH, SUBHEADING, TYPE, Field
from residency.retrieval.boolean.index import Index, as_regex
from residency.retrieval.boolean.meaning import (
    Days,
    Everything,
    Matching,
    Meaning,
    Names,
    Near,
    Nothing,
    PmidRange,
    Pmids,
    Steps,
    Text,
)
from residency.retrieval.boolean.parser import parse
from residency.retrieval.boolean.syntax import Chain, Node, Range, Term, Words
from residency.retrieval.boolean.text import STOPWORDS, key, patterns

SHORTEST = 4
"""Letters before the first `*`."""
MOST_NEAR = 10
"""Words of a proximity search."""
PMID_DIGITS = 5
"""Digits from which on a number without a tag is a PMID."""
_LARGEST = 2**62


class Translator:
    """Turns one query's tree into its meaning."""

    def __init__(self, index: Index, query: str, *, today: date, strict: bool = False) -> None:
        self.index = index
        self.query = query
        self.today = today
        self.strict = strict
        self.warnings: list[str] = []

    def translate(self, node: Node) -> Meaning | None:
        """The meaning of a tree; None where nothing is left of it."""
        if isinstance(node, Chain):
            return self._chain(node)
        if isinstance(node, Words):
            return self._words(node)
        if isinstance(node, Range):
            return self._range(node.low, node.high, node.field, node.start)
        return self._term(node)

    def _chain(self, chain: Chain) -> Meaning | None:
        first = self.translate(chain.first)
        rest = []
        for operator, operand in chain.rest:
            meaning = self.translate(operand)
            if meaning is None:
                continue
            if first is not None:
                rest.append((operator, meaning))
            elif operator == "NOT":
                raise self.reject("nothing is left of what stands before NOT", chain.start)
            else:
                first = meaning
        if first is None or not rest:
            return first
        return Steps(first, rest)

    def reject(self, reason: str, position: int, hint: str | None = None) -> QueryRejected:
        """The error for this query."""
        return QueryRejected(reason, position, self.query, hint)

    def pass_over(self, fault: str, instead: str, position: int) -> None:
        """Say what is wrong and, as PubMed does, go on without it; when strict, refuse it."""
        if self.strict:
            raise self.reject(fault, position)
        self.warnings.append(f"{fault}; {instead}")

    def _words(self, node: Words) -> Meaning | None:
        parts: list[Meaning] = []
        waiting: list[str] = []
        ignored: list[str] = []
        said = [text for text in node.texts if text.lower() != "pmid"]  # `PMID: 12345678`
        numbers = [text for text in said if text.isascii() and text.isdecimal()]
        if numbers and len(numbers) == len(said) and all(PMID_DIGITS <= len(n) <= 18 for n in numbers):
            return self._pmids(numbers, node.start)

        def flush() -> None:
            if waiting:
                mapped = mapping.map_words(self.index, waiting)
                parts.extend(mapped.parts)
                ignored.extend(mapped.ignored)
                waiting.clear()

        for text, start in zip(node.texts, node.starts, strict=True):
            words = self._patterns(text, start)
            if any("*" in word for word in words):
                flush()
                parts.append(mapping.in_all_fields(words))
            elif filters.squeeze(text) == filters.ABSTRACT:
                flush()
                parts.append(Names((f"has{PART}abstract",), filters.ABSTRACT))
            else:
                waiting.append(text.replace("*", " "))
        flush()
        if ignored:
            self.warnings.append(f"words ignored: {', '.join(dict.fromkeys(ignored))}")
        return mapping.all_of(parts) if parts else None

    def _patterns(self, text: str, start: int) -> tuple[str, ...]:
        """The words of a term; a `*` after too few letters is left out, as PubMed does."""
        found = []
        for word in patterns(text):
            if "*" in word and len(word.partition("*")[0]) < SHORTEST:
                fault = f"`{_short(word)}` has fewer than {SHORTEST} letters before its *"
                self.pass_over(fault, "the * was ignored", start)
                found += patterns(word.replace("*", " "))
            else:
                found.append(word)
        return tuple(found)

    def _term(self, term: Term) -> Meaning | None:
        kind = (term.field or ALL).kind
        if kind == "text":
            return self._text(term, term.field or ALL)
        assert term.field is not None
        if not patterns(term.text):
            self.warnings.append(
                f"a term without letters was ignored: {_short(term.text)}[{term.field.name}]"
            )
            return None
        if kind == "absent":
            return self._absent(term.field, term.text)
        if kind == "date":
            return self._date(term, term.field)
        makers: dict[str, Callable[[Term], Meaning]] = {
            "mesh": self._mesh,
            "subheading": self._subheading,
            "type": self._type,
            "author": self._author,
            "journal": self._journal,
            "language": self._language,
            "doi": self._doi,
            "filter": self._filter,
        }
        if kind == "pmid":
            return self._pmids(re.split(r"[\s,;]+", term.text.strip()), term.start)
        return makers[kind](term)

    def _text(self, term: Term, at: Field) -> Meaning | None:
        words = self._patterns(term.text, term.start)
        if at is ALL and not term.quoted and not any("*" in word for word in words):
            units = tuple(term.text.replace("*", " ").split())
            return self._words(Words(units, (term.start,) * len(units), term.start, term.end))
        if not words:
            self.warnings.append(f"a term without letters was ignored: {_short(term.text)}")
            return None
        if term.noexp:
            self.warnings.append(f":noexp means nothing in [{at.name}] and was ignored")
        if term.near is not None and self._near_holds(words, term):
            shown = f'"{" ".join(words)}"[{at.name}:~{term.near}]'
            return Near(words, at.zones, term.near, shown)
        if all(word in STOPWORDS for word in words):
            self.warnings.append(f"words ignored: {' '.join(words)}")
            return None
        return Text(words, at.zones, f'"{" ".join(words)}"[{at.name}]')

    def _near_holds(self, words: tuple[str, ...], term: Term) -> bool:
        if len(words) > MOST_NEAR:
            raise self.reject(f"a proximity search takes at most {MOST_NEAR} words", term.start)
        if any("*" in word for word in words):
            self.pass_over("a proximity search takes no *", "its distance was ignored", term.start)
        elif len(words) < 2:
            self.pass_over("a proximity search needs two words", "its distance was ignored", term.start)
        else:
            return True
        return False

    def _not_found(self, text: str, at: Field) -> Nothing:
        self.warnings.append(f"not found in [{at.name}]: {_short(text)}")
        words = " ".join(patterns(text))
        return Nothing(f'"{words}"[{at.name}]')

    def _absent(self, at: Field, text: str) -> Nothing:
        self.warnings.append(f"records here have no [{at.name}], so nothing matches: {_short(text)}")
        return Nothing(f'"{" ".join(patterns(text))}"[{at.name}]')

    def _mesh(self, term: Term) -> Meaning:
        at, major = term.field or MESH, term.field is MAJOR
        left, slash, right = term.text.rpartition("/")
        below = subheadings.named(right) if slash else None
        words = self._patterns(left if below else term.text, term.start)
        if any("*" in word for word in words):
            if below:
                raise self.reject("a heading with a subheading takes no *", term.start)
            text = " ".join(words)
            kind = "mj" if major else "mh"
            return Matching(kind, text.partition("*")[0], as_regex(text).pattern, f'"{text}"[{at.name}]')
        found = mapping.headings_of(self.index, " ".join(words))
        if not found:
            return self._not_found(term.text, at)
        if term.quoted and len(found) > 1:  # in quotation marks a term is one heading
            found = tuple(name for name in found if key(name) == " ".join(words)) or found
        if below:
            parts = [mapping.heading_with(name, below, noexp=term.noexp, major=major) for name in found]
        else:
            parts = [mapping.heading(name, noexp=term.noexp, major=major) for name in found]
        return mapping.any_of(parts)

    def _subheading(self, term: Term) -> Meaning:
        name = subheadings.named(term.text)
        return mapping.subheading(name, noexp=term.noexp) if name else self._not_found(term.text, SUBHEADING)

    def _type(self, term: Term) -> Meaning:
        words = self._patterns(term.text, term.start)
        if any("*" in word for word in words):
            text = " ".join(words)
            return Matching(
                "pt", text.partition("*")[0], as_regex(text).pattern, f'"{text}"[Publication Type]'
            )
        at = " ".join(words)
        found = self.index.subject("p", at) or self.index.subject("p", at.removesuffix("s"))
        if not found:
            return self._not_found(term.text, TYPE)
        return mapping.any_of([mapping.publication_type(name, noexp=term.noexp) for name in found])

    def _author(self, term: Term) -> Meaning:
        assert term.field is not None
        role, tag = term.field.role, term.field.name
        if "*" in term.text:
            text = " ".join(self._patterns(term.text, term.start))
            if "*" in text:
                return Matching(role, text.partition("*")[0], as_regex(text).pattern, f"{text}[{tag}]")
        return mapping.written_by(term.text.replace("*", " "), role=role, tag=tag, quoted=term.quoted)

    def _journal(self, term: Term) -> Meaning:
        text = " ".join(self._patterns(term.text, term.start))
        if "*" in text:
            return Matching("ta", text.partition("*")[0], as_regex(text).pattern, f'"{text}"[Journal]')
        names = self.index.subject("j", text)
        return mapping.journal(names[0] if len(names) == 1 and key(names[0]) == text else text)

    def _language(self, term: Term) -> Meaning:
        code = languages.code(term.text)
        assert term.field is not None
        if code is None:
            return self._not_found(term.text, term.field)
        return Names((f"la{PART}{code}",), f'"{languages.NAMES[code]}"[Language]')

    def _doi(self, term: Term) -> Meaning:
        assert term.field is not None
        said = term.text.strip().lower().removeprefix("https://doi.org/").removeprefix("doi:").strip()
        return Names((f"doi{PART}{said}",), f'"{said}"[{term.field.name}]')

    def _filter(self, term: Term) -> Meaning:
        assert term.field is not None
        name = filters.squeeze(term.text)
        if name == filters.EVERYTHING:
            return Everything("all[Filter]")
        if name == filters.ABSTRACT:
            return Names((f"has{PART}abstract",), filters.ABSTRACT)
        stands_for = filters.query(term.text)
        if stands_for is not None:
            meaning = self.translate(parse(stands_for)[0])
            assert meaning is not None
            return meaning
        kind = self.index.squeezed_types.get(name)
        return mapping.publication_type(kind) if kind else self._absent(term.field, term.text)

    def _pmids(self, texts: list[str], start: int) -> Meaning:
        for text in texts:
            if not (text.isascii() and text.isdecimal() and len(text) <= 18):
                raise self.reject(f"`{_short(text)}` is no PMID", start)
        numbers = tuple(int(text) for text in texts)
        shown = " OR ".join(f"{number}[UID]" for number in numbers)
        return Pmids(numbers, f"({shown})" if len(numbers) > 1 else shown)

    def _date(self, term: Term, at: Field) -> Days:
        low, colon, high = term.text.partition(":")
        if colon:
            days = self._range(low.strip(), high.strip(), at, term.start)
            assert isinstance(days, Days)
            return days
        span = dates.span(term.text) or dates.last(term.text, self.today)
        if span is None:
            raise self.reject(f"`{_short(term.text)}` is no date", term.start, "YYYY, YYYY/MM or YYYY/MM/DD")
        self._stand_in(at)
        return days_between(*span)

    def _range(self, low: str, high: str, at: Field, start: int) -> Meaning:
        if at.kind == "absent":
            return self._absent(at, f"{low}:{high}")
        if at.kind == "pmid":
            for text in (low, high):
                if not (text.isascii() and text.isdecimal()):
                    raise self.reject(f"`{_short(text)}` is no PMID", start)
            first, last = min(int(low), _LARGEST), min(int(high), _LARGEST)
            return PmidRange(first, last, f"{first}:{last}[UID]")
        spans = []
        for text in (low, high):
            found = dates.span(text)
            if found is None:
                hint = "YYYY, YYYY/MM or YYYY/MM/DD; 3000 stands for the end of time"
                raise self.reject(f"`{_short(text)}` is no date", start, hint)
            spans.append(found)
        self._stand_in(at)
        return days_between(spans[0][0], spans[1][1])

    def _stand_in(self, at: Field) -> None:
        if at.role:
            self.warnings.append(f"records here have no [{at.role}]; the publication date was used")


def days_between(first: int, last: int) -> Days:
    """Records published from one day to another."""
    return Days(first, last, f"{dates.show(first)}:{dates.show(last)}[{DATE.name}]")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
