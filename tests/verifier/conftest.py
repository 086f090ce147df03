"""Two-class models of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import TEXTS, make_tiny_model
from verifier_case import add_head

from residency.verifier import text


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model without a head of two classes."""
    return make_tiny_model(tmp_path_factory.mktemp("base"), [*TEXTS, text.TEMPLATE])


@pytest.fixture(scope="session")
def verifier(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier that has learnt nothing."""
    return add_head(base, tmp_path_factory.mktemp("verifier"))
