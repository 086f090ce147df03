"""What went wrong, from the end of a log."""

from __future__ import annotations

import re

_KNOWN: tuple[tuple[str, str, str | None], ...] = (
    (
        r"OutOfMemoryError|CUDA out of memory|DefaultCPUAllocator: (?:can't|not enough)",
        "it ran out of memory",
        "lower `lm_eval.batch_size`, or set it to `auto`",
    ),
    (
        r"chat_template is not set|Cannot use chat template functions",
        "the model's tokenizer has no chat template",
        "leave `lm_eval.apply_chat_template` out, or evaluate an instruction-tuned model",
    ),
    (
        r"max tokens to generate \((\d+)\) must be less than model's maximum sequence length \((\d+)\)",
        "the answer may be {0} tokens long and the model's whole context is {1}",
        "lower `lm_eval.gen_kwargs.max_gen_toks`",
    ),
    (
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled|"
        r"couldn't connect",
        "a model or data set is not on this machine and the hub cannot be reached",
        "download it first, or name a folder on this machine",
    ),
    (
        r"Can't find 'adapter_config.json' at '([^']+)'",
        "{0} holds no adapter",
        "name the folder that holds adapter_config.json under `adapter:`",
    ),
    (
        r"size mismatch for \S+",
        "the adapter was trained on another model",
        "name under `model:` the model that it was trained on",
    ),
    (
        r"No module named '([\w.]+)'",
        "the Python module {0} is missing",
        "make install",
    ),
    (
        r"Task '?(\S+?)'? was not found|Spec '([^']+)' is not a registered task",
        "lm-eval knows no such task",
        "see `launch.py check`",
    ),
)


def explain(log_tail: str, *, gpu: bool = False) -> tuple[str, str | None]:
    """A sentence and a hint for the end of a log.

    Args:
        log_tail: The last lines.
        gpu: Whether the stage had a GPU.
    """
    said = re.findall(r"^error: (.*)$", log_tail, re.MULTILINE)
    for pattern, message, hint in _KNOWN:
        match = re.search(pattern, said[-1] if said else log_tail)
        if match:
            return message.format(*(group or "" for group in match.groups())), hint
    if said:
        kind, _, text = said[-1].partition(": ")
        if kind == "BadRow":
            return text, "run `launch.py check` on the recipe: it names such rows beforehand"
        return said[-1], None
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    if not lines:
        return "it printed nothing", None
    if not gpu and re.search(r"\bKilled\b", lines[-1]):
        return "the system killed it, most likely for want of memory", "lower `lm_eval.batch_size`"
    return lines[-1], None
