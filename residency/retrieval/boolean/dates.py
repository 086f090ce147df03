"""Publication dates, as numbers YYYYMMDD that can be compared.

PubMed's rules: a date without a month is January's, one without a day is the first; of several months
the first counts; winter is January, spring April, summer July, autumn October.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_DATE = re.compile(r"\s*(\d{4})(?:[/.-](\d{1,2})(?:[/.-](\d{1,2}))?)?\s*")
_LAST = re.compile(r"last\s+(?:(\d{1,4})\s+)?(day|month|year)s?", re.IGNORECASE)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_SEASONS = {"win": 1, "spr": 4, "sum": 7, "aut": 10, "fal": 10}


def of_record(text: str | None, year: int | None = None) -> int:
    """A record's date; 0 where it has none.

    Args:
        text: `1979`, `1979-06`, `1979-06-01`, `1979/6`, or as a journal prints it: `1979 Jan-Feb`,
            `Spring 1977`, `1998 Dec-1999 Jan`.
        year: Counts where the text gives none.
    """
    text = text or ""
    exact = _DATE.fullmatch(text)
    if exact:
        return _number(*(int(part or 1) for part in exact.groups()))
    found = re.search(r"(?<!\d)\d{4}(?!\d)", text)
    number = int(found.group()) if found else (year or 0)
    if not number:
        return 0
    words = re.findall(r"[a-z]+|\d+", text.lower())
    for at, word in enumerate(words):
        month = _MONTHS.get(word[:3]) or _SEASONS.get(word[:3])
        if month:
            after = words[at + 1] if at + 1 < len(words) else ""
            return _number(number, month, int(after) if len(after) <= 2 and after.isdecimal() else 1)
    return _number(number, 1, 1)


def _number(year: int, month: int, day: int) -> int:
    return year * 10000 + min(max(month, 1), 12) * 100 + min(max(day, 1), 31)


def span(text: str) -> tuple[int, int] | None:
    """First and last day of a year, a month or a day; None for what is no date."""
    exact = _DATE.fullmatch(text)
    if not exact:
        return None
    year, month, day = exact.groups()
    if month is None:
        return int(year) * 10000 + 101, int(year) * 10000 + 1231
    if not 1 <= int(month) <= 12 or (day is not None and not 1 <= int(day) <= 31):
        return None
    base = int(year) * 10000 + int(month) * 100
    return (base + 1, base + 31) if day is None else (base + int(day), base + int(day))


def last(text: str, today: date) -> tuple[int, int] | None:
    """First and last day of `last 5 years`, `last 30 days`, `last month`; None for anything else."""
    said = _LAST.fullmatch(text.strip(' "'))
    if not said:
        return None
    count, unit = int(said.group(1) or 1), said.group(2).lower()
    if unit == "day":
        days = timedelta(days=count)
        begin = today - days if days < today - date.min else date.min
    else:
        months = today.year * 12 + today.month - 1 - count * (12 if unit == "year" else 1)
        year, month = divmod(max(months, 12), 12)
        begin = date(year, month + 1, min(today.day, 28))
    return _number(begin.year, begin.month, begin.day), _number(today.year, today.month, today.day)


def show(number: int) -> str:
    """YYYY/MM/DD."""
    return f"{number // 10000:04d}/{number // 100 % 100:02d}/{number % 100:02d}"
