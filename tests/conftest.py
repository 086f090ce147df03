"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable) or PROJECT.parent / "shared" / default)
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to run this test")
    return path


@pytest.fixture
def reference_dir() -> Path:
    """Real records and verified figures to test against."""
    return _folder("RESIDENCY_REFERENCE", "reference")


@pytest.fixture
def mirror_dir() -> Path:
    """Public data laid out as host/path."""
    return _folder("RESIDENCY_MIRROR", "mirror")
