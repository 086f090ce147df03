"""The languages of articles: MEDLINE's codes, and the names by which they are searched."""

from __future__ import annotations

from residency.retrieval.boolean.text import key

_NAMES = """
afr Afrikaans|alb Albanian|amh Amharic|ara Arabic|arm Armenian|aze Azerbaijani|ben Bengali|bos Bosnian
bul Bulgarian|cat Catalan|chi Chinese|cze Czech|dan Danish|dut Dutch|eng English|epo Esperanto
est Estonian|fin Finnish|fre French|geo Georgian|ger German|gla Scottish Gaelic|gre Greek|heb Hebrew
hin Hindi|hrv Croatian|hun Hungarian|ice Icelandic|ind Indonesian|ita Italian|jpn Japanese|kin Kinyarwanda
kor Korean|lat Latin|lav Latvian|lit Lithuanian|mac Macedonian|mal Malayalam|mao Maori|may Malay
mul Multiple Languages|nor Norwegian|per Persian|pol Polish|por Portuguese|pus Pushto|rum Romanian
rus Russian|san Sanskrit|slo Slovak|slv Slovenian|spa Spanish|srp Serbian|swe Swedish|tha Thai|tur Turkish
ukr Ukrainian|und Undetermined|urd Urdu|vie Vietnamese|wel Welsh
"""
_PAIRS = [item.split(" ", 1) for item in _NAMES.replace("\n", "|").split("|") if item]
CODES: dict[str, str] = {key(name): code for code, name in _PAIRS}
"""Name → code."""
NAMES = {code: name for name, code in CODES.items()}


def code(text: str) -> str | None:
    """The code of a language by its name, its code, or its first three letters; None where unknown."""
    asked = key(text)
    if asked in NAMES:
        return asked
    if asked in CODES:
        return CODES[asked]
    if len(asked) >= 3:
        for name, found in CODES.items():
            if name.startswith(asked):
                return found
    return None
