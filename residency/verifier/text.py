"""What a verifier reads: the final response of an answer, and the text that it is set in."""

from __future__ import annotations

import re
from typing import Literal

THINKING = "## Thinking"
FINAL = "## Final Response\n\n"

TEMPLATE = """\
<Model Response>
{response}
</Model Response>

<Reference Answer>
{reference}
</Reference Answer>

Above are a model's response and the reference answer. Judge whether the response arrives at the \
reference answer. Say "True" if it does, and "False" if it does not."""
"""The default; the tags are those that the published verifiers were trained with."""

PLACES = ("response", "reference")

Form = Literal["ordered", "reversed", "partial", "none"]


def form(answer: str) -> Form:
    """How the two headings stand in an answer.

    `ordered`: each exactly once, the thinking first; `reversed`: each once, the final response
    first; `partial`: there is a heading, but not each once; `none`: there is none.
    """
    thinking, final = answer.count(THINKING), answer.count(FINAL)
    if thinking == 1 and final == 1:
        return "ordered" if answer.index(THINKING) < answer.index(FINAL) else "reversed"
    return "partial" if thinking or final else "none"


def final_response(answer: str) -> str | None:
    """The text under `## Final Response`; None unless each heading stands there exactly once.

    A thinking part that comes after it is no part of it.
    """
    if form(answer) not in ("ordered", "reversed"):
        return None
    return answer.split(FINAL, 1)[1].split(THINKING, 1)[0].strip()


def check_template(template: str) -> None:
    """Raises ValueError, saying why, for a template that lacks a place or has an unknown one."""
    for place in PLACES:
        if f"{{{place}}}" not in template:
            raise ValueError(f"the verifier's template has no place for the {place}: add {{{place}}}")


def fill(template: str, response: str, reference: str) -> str:
    """The text for one answer.

    Tags of the template are taken out of the response, which could otherwise close its own part
    and write a reference answer for itself.
    """
    tags = sorted(set(re.findall(r"</?[A-Za-z][^<>{}\n]*>", template)))
    if tags:
        pattern = "|".join(re.escape(tag) for tag in tags)
        response = re.sub(pattern, " ", response, flags=re.IGNORECASE)
    given = {"response": response, "reference": reference}
    return re.sub(r"\{(response|reference)\}", lambda match: given[match[1]], template)
