"""A plan as text: what would run, in which order, why, and what it needs."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from pathlib import Path

from residency.engines.base import MemoryEstimate
from residency.plan.model import Plan, PlannedService, PlannedStage
from residency.report import wording

DOES = {"reuse": "reuse", "resume": "go on", "run": "run", "skip": "leave out"}


def plan_text(plan: Plan, width: int | None = None, gpu_memory: int | None = None) -> str:
    """The plan for a terminal.

    Args:
        plan: The plan.
        width: Columns; as wide as the terminal, 100 at most, when it is not given.
        gpu_memory: Bytes of this machine's smallest GPU; asked of the machine when not given.
    """
    width = max(20, min(width or shutil.get_terminal_size((100, 24)).columns, 100))
    lines = _fill(f"{plan.recipe.name} ({plan.recipe.path}): {_count(plan)}", width)
    for word, given in (("profile", plan.profiles), ("set", plan.overrides)):
        lines += [line for item in given for line in _fill(f"--{word} {item}", width, "  ")]
    lines += ["", *_overview(plan, width)]
    if gpu_memory is None and any(stage.memory and stage.job.gpus for stage in plan.stages):
        from residency.plan.machine import gpus

        gpu_memory = min((gpu.memory for gpu in gpus()), default=None)
    for stage in plan.stages:
        if stage.action in ("run", "resume"):
            lines += ["", *_details(stage, width, gpu_memory)]
    for service in plan.services:
        lines += ["", *_service(service, plan, width)]
    if plan.warnings:
        lines.append("")
        for warning in plan.warnings:
            lines += _fill(f"warning: {warning}", width, hanging="  ")
    return "\n".join(line.rstrip() for line in lines)


def _count(plan: Plan) -> str:
    actions = [stage.action for stage in plan.stages]
    words = [wording.plural(len(actions), "stage")]
    for action, said in (
        ("run", "to run"),
        ("resume", "to go on with"),
        ("reuse", "reused"),
        ("skip", "left out"),
    ):
        if number := actions.count(action):  # type: ignore[arg-type]
            words.append(f"{number} {said}")
    return ", ".join(words)


def _overview(plan: Plan, width: int) -> list[str]:
    """Number, stage, kind, what happens, why; the reason on a line of its own where it is narrow."""
    names = max((len(stage.name) for stage in plan.stages), default=0)
    kinds = max((len(stage.kind) for stage in plan.stages), default=0)
    does = max((len(DOES[stage.action]) for stage in plan.stages), default=0)
    lines = []
    for place, stage in enumerate(plan.stages, 1):
        head = f"{place:>3}  {stage.name:<{names}}  {stage.kind:<{kinds}}  {DOES[stage.action]:<{does}}  "
        if len(head) + 24 <= width:
            wrapped = textwrap.wrap(stage.reason, width - len(head)) or [""]
            lines += [head + wrapped[0], *(" " * len(head) + rest for rest in wrapped[1:])]
        else:
            lines += [head, *_fill(stage.reason, width, "     ")]
    return lines


def _details(stage: PlannedStage, width: int, gpu_memory: int | None) -> list[str]:
    version = stage.engine.version()
    engine = f"{stage.engine.name} {version}" if version else f"{stage.engine.name}, which is not installed"
    lines = _fill(f"{stage.name}: {stage.kind} by {engine}", width, hanging="  ")
    facts = [("needs", ", ".join(stage.needs)), ("services", ", ".join(stage.services))]
    facts += [("uses", _resources(stage))]
    facts += [("memory", text) for text in _memory(stage, gpu_memory)]
    facts += [("command", shlex.join(stage.launch.argv)), ("folder", _short(stage.folder))]
    facts += [("leaves", ", ".join(f"{name} ({o.what})" for name, o in stage.outputs.items()))]
    facts += [("secret", f"{name} from ${source}") for name, source in stage.secrets.items()]
    facts += [("note", note) for note in stage.launch.notes]
    facts += [("sets", line) for line in stage.launch.sets]
    for name, text in facts:
        if text:
            lines += _fill(text, width, f"  {name:<8} ", " " * 11)
    return lines


def _service(service: PlannedService, plan: Plan, width: int) -> list[str]:
    """A service: what it is, whether it is started, and for which stages."""
    used_by = [stage.name for stage in plan.stages if service.name in stage.services]
    starts = "" if service in plan.to_serve else ", not needed now"
    lines = _fill(f"service {service.name}: {service.says}{starts}", width, hanging="  ")
    facts = [("for", ", ".join(used_by)), ("uses", ", ".join(service.uses))]
    facts += [("needs", ", ".join(service.needs)), ("command", shlex.join(service.launch.argv))]
    facts += [("secret", f"{name} from ${source}") for name, source in service.secrets.items()]
    for name, text in facts:
        if text:
            lines += _fill(text, width, f"  {name:<8} ", " " * 11)
    return lines


def _resources(stage: PlannedStage) -> str:
    threads = wording.plural(stage.job.threads, "CPU thread")
    return f"{wording.plural(stage.job.gpus, 'GPU')}, {threads}" if stage.job.gpus else threads


def _memory(stage: PlannedStage, gpu_memory: int | None) -> list[str]:
    """The estimate with its parts; against the GPU where the stage uses one."""
    found = stage.memory
    if found is None:
        return []
    where = "a GPU" if stage.job.gpus else "memory"
    parts = [f"about {wording.size(found.total)} of {where}: {_parts(found)}"]
    parts.append(f"{_millions(found.parameters)} parameters, {_millions(found.trainable)} of them trained")
    if found.notes:
        parts.append("assumes " + "; ".join(found.notes))
    if stage.job.gpus and gpu_memory is None:
        parts.append("there is no GPU here to compare it with")
    elif stage.job.gpus and gpu_memory is not None:
        if found.total <= gpu_memory:
            parts.append(f"fits: each GPU here has {wording.size(gpu_memory)}")
        else:
            parts.append(f"WARNING: does not fit, each GPU here has {wording.size(gpu_memory)}")
            parts += [f"try {advice}" for advice in found.advice]
    return parts


def _parts(found: MemoryEstimate) -> str:
    named = ("weights", "gradients", "optimizer", "activations", "overhead")
    return ", ".join(f"{name} {wording.size(getattr(found, name))}" for name in named if getattr(found, name))


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"


def _short(path: Path) -> str:
    cwd = Path.cwd()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _fill(text: str, width: int, first: str = "", hanging: str | None = None) -> list[str]:
    """Text in lines of that width. Words longer than a line (paths) are left whole, to be copied."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
