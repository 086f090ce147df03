"""An `evaluate` stage over an endpoint: the server, the tokenizer, what its answers are kept for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency import files
from residency.endpoint.settings import HOW_FAST, Endpoint, endpoint

if TYPE_CHECKING:
    from residency.endpoint.client import Client
    from residency.engines.lm_eval.served import Report, Served

KEPT = "answers.jsonl"
"""The file of answers that were given over an endpoint, below the stage's folder."""


def stage(config: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """What stage.yaml says of the server.

    Args:
        config: The resolved recipe, with an `endpoint:` block.
        model: The checkpoint whose tokenizer is read, an absolute path or a hub name; None without one.
    """
    found = endpoint(config)
    assert found is not None
    return {"endpoint": dict(config["endpoint"]), "tokenizer": model if by_tokens(found, model) else None}


def by_tokens(found: Endpoint, model: str | None) -> bool:
    """Whether prompts are made here and sent to /completions; else messages go to /chat/completions."""
    return found.api == "completions" or (found.api == "auto" and model is not None)


def purpose(stage: Mapping[str, Any], arguments: str) -> str:
    """What answers are kept for; where the server listens and how fast it is asked is no part of it."""
    block = {k: v for k, v in stage["endpoint"].items() if k not in (*HOW_FAST, "url")}
    rest = {key: value for key, value in stage.items() if key != "model"}  # a label, perhaps the address
    return files.sha256_value([{**rest, "endpoint": block}, arguments])


def engine(client: Client, model: str, listed: Mapping[str, Any], api: str) -> dict[str, Any]:
    """What results.json says of what answered."""
    from residency.endpoint.client import owner_of

    return {
        "name": owner_of(listed, model) or "OpenAI-compatible server",
        "version": client.version(),
        "url": client.endpoint.shown,
        "model": model,
        "api": api,
    }


def open_model(
    stage: Mapping[str, Any], folder: Path, *, seed: int | None, expected: int, report: Report
) -> tuple[Served, dict[str, Any]]:
    """The model as lm-eval's `LM`, and what results.json says of it.

    Args:
        stage: stage.yaml.
        folder: The stage's folder.
        seed: See `Served`.
        expected: See `Served`.
        report: See `Served`.
    """
    from residency.endpoint.client import context_of
    from residency.endpoint.kept import Kept
    from residency.endpoint.prompt import Tokenizer
    from residency.endpoint.reach import reach
    from residency.engines.lm_eval.served import Served

    found = endpoint(stage)
    assert found is not None
    client, model, listed = reach(found)
    tokenizer = Tokenizer(stage["tokenizer"]) if stage.get("tokenizer") else None
    known: Sequence[int | None] = (
        found.context,
        context_of(listed, model),
        tokenizer.context if tokenizer else None,
    )
    kept = Kept(folder / KEPT, purpose(stage, (folder / "lm_eval.yaml").read_text(encoding="utf-8")))
    lm = Served(
        client,
        model,
        kept,
        tokenizer=tokenizer,
        context=next((length for length in known if length), None),
        seed=seed,
        expected=expected,
        report=report,
    )
    return lm, engine(client, model, listed, "completions" if tokenizer else "chat")
