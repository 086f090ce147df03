from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model's folder."""
    from tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def loaded(tiny: Path) -> Any:
    """The model, made ready to be served, in float32."""
    from residency.inference.model import load

    return load(str(tiny), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def alone(tiny: Path) -> Any:
    """What transformers itself answers, one prompt at a time: (prompt, tokens) → tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()

    def answer(prompt: list[int], tokens: int, **more: Any) -> list[int]:
        ids = torch.tensor([prompt])
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, **more
        )
        return made[0, len(prompt) :].tolist()

    answer.model = model  # type: ignore[attr-defined]
    return answer


@pytest.fixture(scope="module")
def served(loaded: Any) -> Iterator[Any]:
    from served_model import ServedModel

    with ServedModel(loaded, batch=8) as found:
        yield found
