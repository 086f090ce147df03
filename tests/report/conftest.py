"""Runs and a browser for the tests of reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser, find
from make_run import make_run


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went well. Tests must not change it."""
    return make_run(tmp_path_factory.mktemp("done"))


@pytest.fixture(scope="session")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training failed."""
    return make_run(tmp_path_factory.mktemp("failed"), outcome="failed")


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose launcher was killed in training."""
    return make_run(tmp_path_factory.mktemp("killed"), outcome="killed")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = find()
    if path is None:
        pytest.skip("no Chromium is installed: the page is not looked at (apt-get install chromium)")
    opened = Browser(path)
    yield opened
    opened.close()
