"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parent.parent

# A busy machine is no reason for a test to fail.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


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


LONGEST_FIRST = (
    "test_pubmedqa_grpo.py",
    "test_ppo_verifier.py",
    "test_tool_run.py",
    "test_search_run.py",
    "test_flows_hrpo.py",
    "test_flows_resume.py",
    "test_flows_ray.py",
    "test_kill_and_resume.py",
    "test_flows_estimators.py",
    "test_flows.py",
    "test_lf_training.py",
    "test_rules_verl.py",
    "test_grpo_on_a_cpu.py",
)
"""Files whose tests take minutes: begun first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; else the order stays."""
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
