"""Why a training failed, in one sentence, from the end of its log."""

from __future__ import annotations

import re
from collections.abc import Callable

from residency.engines import log
from residency.engines.verl.training import FAILED

Match = re.Match[str]

_ROLLOUT = re.compile(
    r"Error in _run_prompt[\s\S]*?^((?:\w+\.)*\w*(?:Error|Exception)(?!\(\w+\): ray::): [^\n]+)$",
    re.MULTILINE,
)


def _reason(text: str) -> str:
    """Why a rollout failed, as a part of a sentence."""
    found = _ROLLOUT.search(text)
    return f"; one of them: {found[1].strip()}" if found else ""


# Looked for in this order; the first that the log shows is the cause. Each gives the sentence and the hint.
CAUSES: tuple[tuple[re.Pattern[str], Callable[[Match], tuple[str, str | None]]], ...] = (
    (
        re.compile(r"TooManyUnavailable: ([^\n]+)"),
        lambda m: (
            m[1].strip(),
            "see why in outputs/rollouts.jsonl; mend the reward, the rows or the service that it asks; a "
            "slow one needs a larger reward_calls.timeout",
        ),
    ),
    (
        re.compile(r"Diverged: ([^\n]+)"),
        lambda m: (
            m[1].strip() + ": the training has diverged",
            "lower actor_rollout_ref.actor.optim.lr, or actor.grad_clip; add a KL term",
        ),
    ),
    (
        re.compile(r"RolloutsFailed: ([^\n]+)"),
        lambda m: (m[1].strip() + _reason(m.string), "see `Error in _run_prompt` in the log"),
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded|enforce fail at inline_container"),
        lambda m: (
            "the disk is full",
            "free some space, or lower checkpoints.max_keep; run the same command to go on",
        ),
    ),
    (
        re.compile(r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED"),
        lambda m: (
            "the GPU ran out of memory",
            "lower actor_rollout_ref.rollout.gpu_memory_utilization, then "
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu; set fsdp_config.param_offload and "
            "optimizer_offload",
        ),
    ),
    (
        re.compile(
            r"ray\.exceptions\.OutOfMemoryError|killed due to the node running low on memory|"
            r"DefaultCPUAllocator: can't allocate memory"
        ),
        lambda m: (
            "the machine ran out of memory",
            "lower data.train_batch_size, actor_rollout_ref.rollout.n or data.max_response_length",
        ),
    ),
    (
        re.compile(r"Total available GPUs (\d+) is less than total desired GPUs (\d+)"),
        lambda m: (
            f"verl wants {m[2]} GPUs, and Ray has {m[1]}",
            "set trainer.n_gpus_per_node and trainer.nnodes to what is there",
        ),
    ),
    (
        re.compile(r"InvalidAuthToken|Authentication token is missing"),
        lambda m: (
            "the Ray cluster wants its token",
            "put it into ~/.ray/auth_token, or set RAY_AUTH_TOKEN; `ray get-auth-token` tells it there",
        ),
    ),
    (
        re.compile(
            r"(?:Could not find any running Ray instance|ConnectionError: .*ray|Failed to connect to GCS)"
        ),
        lambda m: (
            "the Ray cluster does not answer",
            "see that `ray status` works from here, or correct ray_kwargs.ray_init.address",
        ),
    ),
    (
        re.compile(
            r"(?:Failed to start GCS|The current node timed out during startup|Unable to connect to GCS|"
            r"Timed out while waiting for (?:GCS|raylet))"
        ),
        lambda m: (
            "Ray did not start",
            "see the log; a full /tmp or /dev/shm, or too few open files (ulimit -n), are the usual causes",
        ),
    ),
    (
        re.compile(r"AF_UNIX path length cannot exceed"),
        lambda m: (
            "the path of the temporary folder is too long for Ray's sockets",
            "set TMPDIR to a short one",
        ),
    ),
    (
        re.compile(r"Address already in use|EADDRINUSE"),
        lambda m: ("a port that verl chose is taken", "run the same command again: another is chosen"),
    ),
    (
        re.compile(r"(?:Key|ConfigKeyError|ConfigAttributeError)[^\n]*'?([\w.]+)'? is not in struct"),
        lambda m: (f"verl has no key {m[1]}", "correct it in the recipe's `verl:` block"),
    ),
)


def _rollouts(cause: str) -> tuple[str, str | None]:
    """Whose failure it is: of a server that was asked and is no more, or of the rollouts themselves."""
    if "ActorDiedError" in cause:
        return "a rollout server died", _MEMORY
    return f"the rollouts failed: {cause}", None


LESS_SURE: tuple[tuple[re.Pattern[str], Callable[[Match], tuple[str, str | None]]], ...] = (
    (
        re.compile(r"WorkerDied: ([^\n]+)"),
        lambda m: (m[1].strip(), _MEMORY),
    ),
    (
        # What verl says of it last is only that no answer came.
        _ROLLOUT,
        lambda m: _rollouts(m[1].strip()),
    ),
    (
        re.compile(r"ActorDiedError: [^\n]*\n\s*class_name: (\w+)"),
        lambda m: (f"a process of verl died ({m[1]})", _MEMORY),
    ),
)
"""Looked for when nothing else explains it: a death has a cause of its own."""
_MEMORY = (
    "most often the system does that when memory runs out: see dmesg; lower data.train_batch_size, "
    "actor_rollout_ref.rollout.n or data.max_response_length"
)
_SAID = re.compile(r"^error: (.+)$", re.MULTILINE)
_HINT = re.compile(r"^hint: (.+)$", re.MULTILINE)
_RAY_PREFIX = re.compile(r"\x1b\[\d+m|\((?:\w+ )?pid=\d+(?:, ip=[\d.]+)?\) ")


def explain(text: str) -> tuple[str, str | None]:
    """The sentence and the hint."""
    said = _SAID.findall(text)
    hints = _HINT.findall(text)
    plain = _RAY_PREFIX.sub("", text)
    for pattern, sentence in CAUSES:
        if match := pattern.search(plain):
            return sentence(match)
    told = [line for line in said if line != FAILED]
    if told:
        return told[-1], hints[-1] if hints else None
    for pattern, sentence in LESS_SURE:
        if match := pattern.search(plain):
            return sentence(match)
    if missing := re.search(r"^ModuleNotFoundError: No module named '([\w.]+)'", plain, re.MULTILINE):
        return f"the Python package {missing[1]} is not installed", "make install"
    plain = "\n".join(line for line in plain.splitlines() if line != f"error: {FAILED}")
    return log.last_error(plain) or log.last_line(plain) or "it printed nothing", None
