"""What is asked by our own tasks: their messages as the model wants them, second requests, several answers.

lm-eval makes a prompt of a task file's fields. Ours have their messages made beforehand
(`residency.evaluation.prompts`), so that every engine asks the same; here they take lm-eval's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from residency import stats
from residency.evaluation.prompts import Asked, Message, prompt_hash, second, text

Template = Callable[..., Any]
"""A model's `apply_chat_template`."""


class SecondAnswer(str):
    """The answer to a second request, with the one to the first beside it."""

    first: str = ""


def asked(doc: Mapping[str, Any], system: str | None = None) -> Asked:
    """What a question of ours asks.

    Args:
        doc: As `residency.engines.lm_eval.questions.rows` gives it.
        system: lm-eval's `system_instruction`, which goes before the question's own.
    """
    messages = [dict(message) for message in doc["messages"]]
    if system:
        if messages[0]["role"] == "system":
            messages[0]["content"] = f"{system}\n\n{messages[0]['content']}"
        else:
            messages.insert(0, {"role": "system", "content": system})
    return Asked(tuple(messages), doc.get("then"))


def ours(task: Any) -> bool:
    """True for a task whose questions have their messages made."""
    return "messages" in getattr(task, "features", ())


def steps(task: Any) -> int:
    """Requests for each answer to a question: two where the style makes a second."""
    return 2 if ours(task) and task.eval_docs[0].get("then") else 1


def attach(tasks: Mapping[str, Any]) -> None:
    """Let our tasks among these ask their messages, and keep every answer of several."""
    for task in tasks.values():
        if ours(task):
            task.fewshot_context = _context
            # What is read of each answer is no figure; lm-eval wants an aggregate of everything.
            task._aggregation_list.setdefault("readings", lambda values: float("nan"))
            for metric in ("accuracy_lenient", "unreadable_lenient"):
                task._aggregation_list.setdefault(metric, stats.mean)
            if int(task.config.repeats or 1) > 1:
                task.apply_filters = _all_answers(task)


def _context(
    doc: Mapping[str, Any],
    num_fewshot: int = 0,
    system_instruction: str | None = None,
    apply_chat_template: bool = False,
    fewshot_as_multiturn: bool = False,
    chat_template: Template | None = None,
    gen_prefix: str | None = None,
) -> Any:
    """In place of a task's `fewshot_context`."""
    template = chat_template if apply_chat_template else None
    return _prompt(asked(doc, system_instruction).messages, template, gen_prefix)


def _prompt(messages: Sequence[Message], template: Template | None, prefix: str | None = None) -> Any:
    """Messages as the model takes them: through its template, or as one text."""
    if template is None:
        return text(messages) + (prefix or "")
    turns = [*messages, {"role": "assistant", "content": prefix}] if prefix else list(messages)
    return template(turns, add_generation_prompt=not prefix)


def _all_answers(task: Any) -> Callable[[], None]:
    """In place of lm-eval's filter, which takes the first answer and drops the others."""

    def apply() -> None:
        for instance in task._instances:
            instance.filtered_resps["none"] = list(instance.resps)

    return apply


def attach_second(lm: Any, tasks: Mapping[str, Any], *, chat: bool, system: str | None) -> None:
    """Let `lm` make the second request of each question that has one.

    What it asks goes through `lm.generate_until` as it is now, so that both answers are kept.

    Args:
        lm: The model.
        tasks: Name → task.
        chat: Whether its chat template is applied.
        system: lm-eval's `system_instruction`.
    """
    if not any(steps(task) > 1 for task in tasks.values()):
        return
    ask = lm.generate_until
    template = lm.apply_chat_template if chat else None

    def answer(requests: Sequence[Any], disable_tqdm: bool = True) -> list[Any]:
        answers = ask(requests, disable_tqdm=disable_tqdm)
        again = [i for i, request in enumerate(requests) if request.doc.get("then")]
        following = [_following(requests[i], str(answers[i]), template, system) for i in again]
        if following:
            for i, found in zip(again, ask(following, disable_tqdm=disable_tqdm), strict=True):
                both = SecondAnswer(found)
                both.first = str(answers[i])
                answers[i] = both
        return list(answers)

    lm.generate_until = answer


def _following(request: Any, answer: str, template: Template | None, system: str | None) -> Any:
    """The second request after the answer to the first."""
    from lm_eval.api.instance import Instance

    messages = second(asked(request.doc, system), answer)
    prompt = _prompt(messages, template)
    if template is None:
        prompt = prompt.removesuffix("\n")  # "… the answer is" goes on in its own line
    setting = {**request.args[1], "max_gen_toks": int(request.doc["then_tokens"])}
    return Instance(
        request_type="generate_until",
        doc=request.doc,
        arguments=(prompt, setting),
        idx=request.idx,
        metadata=(request.task_name, request.doc_id, request.repeats),
    )


def about(task: Any, samples: Iterable[Mapping[str, Any]], system: str | None) -> dict[str, Any]:
    """What results.json says of how a task was asked: `version`, `answers_each`, and for ours more.

    `prompt_hash` is over the messages of the questions asked, in the order of the data, before any
    chat template, so that it is the same on every engine; `readings` are the functions that read answers.
    """
    metadata = task.config.metadata if isinstance(task.config.metadata, dict) else {}
    found = {"version": metadata.get("version"), "answers_each": int(task.config.repeats or 1)}
    if not ours(task):
        return found
    docs = [one["doc"] for _, one in sorted({one["doc_id"]: one for one in samples}.items())]
    named = docs[0] if docs else {}
    return {
        **found,
        "prompt_hash": prompt_hash(asked(doc, system) for doc in docs),
        "readings": {name: named[name] for name in ("strict", "lenient") if named.get(name)},
    }
