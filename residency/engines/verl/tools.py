"""The tools of a stage: the files that verl loads them from, and the settings that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "tools.py"
LOOPS = "agent_loops.yaml"
SECONDS = 30.0
"""How long one call of a tool may take."""

ROLLOUT = "actor_rollout_ref.rollout"
FORMATS = ("hermes", "gpt-oss", "qwen3_coder", "glm", "seed", "minimax", "kimi", "deepseek_v4", "gemma4")
"""What verl 0.9.1 can read tool calls from (`multi_turn.format`)."""

_LOOPS = """# verl's loop of turns with tools, which also keeps the model's words apart from the tools'.
- name: tool_agent
  _target_: residency.engines.verl.driver.tool_loop.ToolLoop
"""


def paths(config: Mapping[str, Any]) -> list[str]:
    """The dotted paths under `tools:`."""
    return [str(path) for path in config.get("tools") or ()]


def files(config: Mapping[str, Any]) -> dict[str, str]:
    """The files of a stage that has tools, by name; none when it has none."""
    named = paths(config)
    return {FILE: _file(named), LOOPS: _LOOPS} if named else {}


def settings(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """verl's keys for a stage with tools: dotted key → value. They are the launcher's to set.

    Args:
        config: The resolved recipe.
        folder: The stage's folder; Ray's workers run elsewhere, so paths are absolute.
    """
    if not paths(config):
        return {}
    return {
        f"{ROLLOUT}.multi_turn.enable": True,
        f"{ROLLOUT}.multi_turn.function_tool_path": str(folder / FILE),
        f"{ROLLOUT}.agent.default_agent_loop": "tool_agent",
        f"{ROLLOUT}.agent.agent_loop_config_path": str(folder / LOOPS),
    }


def _file(named: Sequence[str]) -> str:
    lines = [
        '"""The tools of this stage, as verl loads them (`multi_turn.function_tool_path`)."""',
        "",
        "from residency.engines.verl.driver.tool_calls import register",
        "",
        *(f"register({path!r}, seconds={SECONDS:g})" for path in named),
    ]
    return "\n".join(lines) + "\n"
