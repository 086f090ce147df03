"""Tiny models, and the same as a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_case import write_gguf
from tiny_model import TEXTS, make_tiny_model

from residency.engines.transformers.gguf_tokenizer import SAMPLES


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in Hugging Face's format."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), [*TEXTS, *SAMPLES])


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a llama.cpp file, float32."""
    return write_gguf(tiny_model, tmp_path_factory.mktemp("gguf") / "tiny.gguf")
