"""A verifier's word on the final response, as HuatuoGPT-o1 and Doctor-Agent reward it.

An answer is `## Thinking`, then `## Final Response`. The final response is compared with the
reference answer by a two-class model (`kind: verifier` trains one). Everything goes by text:
the verifier has a tokenizer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from residency.rewards.functions import batched, scores
from residency.verifier import text

Scores = list[dict[str, Any]]


def _least(args: Mapping[str, Any]) -> float:
    return float(min(args["passed"], args["failed"], args["no_form"]))


def _most(args: Mapping[str, Any]) -> float:
    return float(max(args["passed"], args["failed"], args["no_form"]))


@scores(_least, _most)
@batched
def score(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    model: str | None = None,
    url: str | None = None,
    threshold: float = 0.4,
    passed: float = 1.0,
    failed: float = 0.1,
    no_form: float = 0.0,
    template: str | None = None,
    max_length: int | None = None,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    timeout: float = 60.0,
    key: str | None = None,
) -> Scores:
    """1.0 where the verifier holds the final response right, 0.1 where not, 0.0 without the form.

    The reward of HuatuoGPT-o1's PPO (Chen et al., 2024, arXiv:2412.18925, section 3.2): `passed`
    where P(right) > `threshold`, else `failed`. An answer without exactly one `## Thinking` and
    one `## Final Response` followed by an empty line gets `no_form`, and the verifier is not
    asked about it.

    Args:
        data_sources: Not used.
        solution_strs: The model's answers.
        ground_truths: The reference answers; a list of texts is alternatives, the best one counts.
        extra_infos: Not used.
        model: The verifier's folder or hub name; with `url`, the name that the service knows.
        url: The address of a served verifier, used in place of one in this process.
        threshold: The probability that must be exceeded.
        passed: The reward above the threshold.
        failed: The reward below it.
        no_form: The reward without the form.
        template: The verifier's text, with {response} and {reference}; default: what it was
            trained with, else residency.verifier.text.TEMPLATE.
        max_length: Tokens of a text at most; default: what the verifier was trained with, else 4000.
        batch_size: Texts of one forward pass, or of one request.
        device: cpu, cuda or auto.
        dtype: float32, bfloat16, float16 or auto.
        threads: CPU threads for the verifier; default half of the machine's, at most 8.
        timeout: Seconds for one request to `url`.
        key: The environment variable that holds the service's key.

    Returns:
        One {"score", "probability", "form"} an answer; the probability is None where the
        verifier was not asked.

    Raises:
        Exception: the verifier is not there, is no verifier, or does not answer. The answers
            then have no score, which is not a score of 0.
    """
    found = _probabilities(
        solution_strs, ground_truths, model=model, url=url, template=template, max_length=max_length,
        batch_size=batch_size, device=device, dtype=dtype, threads=threads, timeout=timeout, key=key,
    )  # fmt: skip
    made: Scores = []
    for answer, probability in zip(solution_strs, found, strict=True):
        form = text.form(answer)
        value = no_form
        if form in ("ordered", "reversed"):
            value = passed if probability is not None and probability > threshold else failed
        made.append({"score": value, "probability": probability, "form": form})
    return made


FORM = {"ordered": 1.0, "reversed": 0.3, "partial": 0.2, "none": 0.0}
"""Doctor-Agent's format reward, which `rewards.format.doctor_agent` gives alone."""


@scores(0.0, 1.0)
@batched
def doctor_agent(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    form_weight: float = 0.3,
    accuracy_weight: float = 0.7,
    **verifier: Any,
) -> Scores:
    """Doctor-Agent's reward for GRPO: 0.3 · form + 0.7 · form · accuracy.

    `form` as `rewards.format.doctor_agent` scores it; `accuracy` as in `score`: 1.0, 0.1, or 0
    without the form.

    Args:
        data_sources: Not used.
        solution_strs: The model's answers.
        ground_truths: The reference answers.
        extra_infos: Not used.
        form_weight: The weight of the form alone.
        accuracy_weight: The weight of the accuracy, which counts as far as the form is right.
        **verifier: The arguments of `score`.
    """
    judged = score(data_sources, solution_strs, ground_truths, extra_infos, **verifier)
    made: Scores = []
    for one in judged:
        form = FORM[one["form"]]
        total = form_weight * form + accuracy_weight * form * one["score"]
        made.append({**one, "score": total, "accuracy": one["score"]})
    return made


def _probabilities(
    answers: Sequence[str],
    truths: Sequence[Any],
    *,
    model: str | None,
    url: str | None,
    template: str | None,
    max_length: int | None,
    batch_size: int,
    device: str,
    dtype: str,
    threads: int | None,
    timeout: float,
    key: str | None,
) -> list[float | None]:
    """P(right) of each answer; None where there is nothing to ask about."""
    asked: list[tuple[int, str, str]] = []
    for index, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        references = _references(truth)
        response = text.final_response(answer)
        if response:  # an empty response is wrong without a verifier
            asked += [(index, response, reference) for reference in references]
    found: list[float | None] = [None] * len(answers)
    if not asked:
        return found
    if url:
        from residency.verifier import served

        wanted = template or text.TEMPLATE
        text.check_template(wanted)
        texts = [text.fill(wanted, response, reference) for _, response, reference in asked]
        values = served.probabilities(
            url, texts, model=model, batch_size=batch_size, max_length=max_length, timeout=timeout, key=key
        )
    elif model:
        from residency.verifier import classifier

        values = classifier.held(model, device=device, dtype=dtype).probabilities(
            [(response, reference) for _, response, reference in asked],
            template=template, max_length=max_length, batch_size=batch_size, threads=threads,
        )  # fmt: skip
    else:
        raise ValueError("rewards.verifier needs `model:` (a verifier's folder) or `url:` (a served one)")
    for (index, _, _), value in zip(asked, values, strict=True):
        before = found[index]
        found[index] = value if before is None else max(before, value)
    return found


def _references(truth: Any) -> list[str]:
    """The reference answers of a row: a text, a number, or a list of alternatives."""
    given = truth if isinstance(truth, list | tuple) else [truth]
    texts = [str(one).strip() for one in given if isinstance(one, str | int | float)]
    if not texts or len(texts) != len(given) or not all(texts):
        raise ValueError(f"the reference answer must be a text or a list of texts, not {truth!r:.80}")
    return texts
