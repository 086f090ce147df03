from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from residency.engines.verl import loggers


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*loggers.KEYS.values(), *loggers.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    found = importlib.util.find_spec
    there = {"wandb", "tensorboard"}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: SimpleNamespace() if name in there else None if name == "mlflow" else found(name),
    )


def test_console_and_file_are_always_there() -> None:
    assert loggers.usable([], {}) == (["console", "file"], [])
    assert loggers.usable(["console", "tensorboard"], {})[0] == ["console", "file", "tensorboard"]


def test_without_its_key_a_logger_is_off_and_said_so() -> None:
    chosen, notes = loggers.usable(["wandb", "console"], {})
    assert "wandb" not in chosen
    assert notes == ["logging to wandb is off: WANDB_API_KEY is not set"]


def test_a_key_may_come_from_the_recipe_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wandb" in loggers.usable(["wandb"], {"WANDB_API_KEY": "⟦secret:WANDB_API_KEY⟧"})[0]
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert "wandb" in loggers.usable(["wandb"], {})[0]


def test_offline_needs_no_key() -> None:
    assert "wandb" in loggers.usable(["wandb"], {"WANDB_MODE": "offline"})[0]
    assert "wandb" not in loggers.usable(["wandb"], {"WANDB_MODE": "online"})[0]


def test_a_package_that_is_not_there_is_said() -> None:
    chosen, notes = loggers.usable(["mlflow"], {})
    assert chosen == ["console", "file"]
    assert "mlflow is not installed" in notes[0]
