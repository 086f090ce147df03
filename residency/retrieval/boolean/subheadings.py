"""MeSH subheadings (qualifiers): their abbreviations, and which include which.

The abbreviations are those of PubMed's user guide. The hierarchy is NLM's grouping of subheadings, by
which a search for `therapy` also finds `drug therapy`.
"""

from __future__ import annotations

from residency.retrieval.boolean.text import key

_ABBREVIATIONS = """
AB abnormalities|AD administration & dosage|AE adverse effects|AG agonists|AA analogs & derivatives
AN analysis|AH anatomy & histology|AI antagonists & inhibitors|BI biosynthesis|BS blood supply|BL blood
CF cerebrospinal fluid|CS chemical synthesis|CI chemically induced|CH chemistry|CL classification
CO complications|CN congenital|CY cytology|DF deficiency|DI diagnosis|DH diet therapy|DG diagnostic imaging
DE drug effects|DT drug therapy|EC economics|ED education|EM embryology|EN enzymology|EP epidemiology
ES ethics|EH ethnology|ET etiology|GE genetics|GD growth & development|HI history|IM immunology|IN injuries
IR innervation|IS instrumentation|IP isolation & purification|LJ legislation & jurisprudence|ME metabolism
MT methods|MI microbiology|MO mortality|NU nursing|OG organization & administration|PS parasitology
PY pathogenicity|PA pathology|PK pharmacokinetics|PD pharmacology|PH physiology|PP physiopathology
PO poisoning|PC prevention & control|PX psychology|RE radiation effects|RT radiotherapy|RH rehabilitation
SC secondary|ST standards|SN statistics & numerical data|SD supply & distribution|SU surgery
TU therapeutic use|TH therapy|TO toxicity|TM transmission|TR transplantation|TD trends|UL ultrastructure
UR urine|VE veterinary|VI virology
"""
_GROUPS = {
    "analysis": "blood|cerebrospinal fluid|isolation & purification|urine",
    "anatomy & histology": "blood supply|cytology|embryology|innervation",
    "cytology": "pathology|ultrastructure",
    "embryology": "abnormalities",
    "chemistry": "agonists|analogs & derivatives|antagonists & inhibitors|chemical synthesis",
    "complications": "secondary",
    "diagnosis": "diagnostic imaging",
    "epidemiology": "ethnology|mortality",
    "etiology": "chemically induced|complications|congenital|embryology|genetics|immunology|microbiology"
    "|parasitology|transmission",
    "microbiology": "virology",
    "organization & administration": "economics|legislation & jurisprudence|standards|supply & distribution"
    "|trends",
    "pharmacology": "administration & dosage|adverse effects|agonists|antagonists & inhibitors"
    "|pharmacokinetics",
    "adverse effects": "poisoning|toxicity",
    "physiology": "genetics|growth & development|immunology|metabolism|physiopathology",
    "metabolism": "biosynthesis|blood|cerebrospinal fluid|deficiency|enzymology|pharmacokinetics|urine",
    "statistics & numerical data": "epidemiology|supply & distribution",
    "surgery": "transplantation",
    "therapeutic use": "administration & dosage|adverse effects",
    "therapy": "diet therapy|drug therapy|nursing|prevention & control|radiotherapy|rehabilitation|surgery",
}

_PAIRS = [item.split(" ", 1) for item in _ABBREVIATIONS.replace("\n", "|").split("|") if item]
SHORT: dict[str, str] = {short.lower(): name for short, name in _PAIRS}
"""Abbreviation → name."""
NAMES = {key(name): name for name in SHORT.values()}
"""Key → name."""
_ALIASES = {key(name.replace(" & ", " and ")): name for name in SHORT.values() if " & " in name}


def named(text: str) -> str | None:
    """The subheading of a name or an abbreviation; None where there is none."""
    asked = key(text)
    return NAMES.get(asked) or _ALIASES.get(asked) or SHORT.get(asked)


def narrower(name: str) -> tuple[str, ...]:
    """A subheading and those that it includes, in order."""
    found, waiting = {name: None}, [name]
    while waiting:
        for below in _GROUPS.get(waiting.pop(), "").split("|"):
            if below and below not in found:
                found[below] = None
                waiting.append(below)
    return tuple(sorted(found))
