"""The checkpoints of an interrupted training: which of them are whole, and from which it goes on.

LLaMA-Factory goes on from the last folder named checkpoint-N, whole or not. So the stage's
train.yaml never says where to go on from; before each start the folder is put in order, until
its last checkpoint is the right one. `sh command.txt` by hand then does the same.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from residency.engines import hf_folder
from residency.errors import ResidencyError, StageFailed

NAME = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"
ASIDE = "aside"
"""Where checkpoints go that are not whole; emptied when the stage is done."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint."""

    path: Path
    step: int
    total: int
    """The steps of the whole training, as it was when the checkpoint was written."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint-N folders, in the order of their steps."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def look(path: Path) -> Checkpoint:
    """A checkpoint, after its parts were found to be whole.

    The trainer writes weights, optimizer, scheduler, random states and, last,
    trainer_state.json. All are looked at: a full disk or a copy cut short can lose any.

    Raises:
        StageFailed: what is missing or cut off.
    """
    state = hf_folder.read_json(path / STATE)
    if (path / hf_folder.ADAPTER_CONFIG).is_file():
        hf_folder.read_header(path / hf_folder.ADAPTER_FILE)
    elif not (path / "latest").is_file():  # DeepSpeed keeps the weights among its own files
        hf_folder.read_weights(path)
    if (path / "latest").is_file():
        _deepspeed(path)
    elif not any(path.glob("optimizer_*")):  # FSDP's sharded optimizer is a folder
        _archive(path / "optimizer.pt", path / "optimizer.bin")
    if not (path / "latest").is_file():
        _archive(path / "scheduler.pt")
    _archive(*sorted(path.glob("rng_state*.pth")) or [path / "rng_state.pth"])
    return Checkpoint(path, int(state["global_step"]), int(state.get("max_steps") or 0))


def tidy(folder: Path, aside: Path) -> tuple[Checkpoint | None, list[str]]:
    """Leave in `folder` only checkpoints to go on from; returns the last of them and what was moved.

    A checkpoint of the very last step is moved aside too when an earlier one is there: with
    `max_steps`, the trainer would do one step too many from it.
    """
    said: list[str] = []
    whole: list[Checkpoint] = []
    for path in checkpoints(folder):
        try:
            whole.append(look(path))
        except (ResidencyError, KeyError, ValueError, TypeError) as error:
            said.append(f"{path.name} is not whole: {error}")
            move(path, aside)
    if len(whole) > 1 and whole[-1].total and whole[-1].step >= whole[-1].total:
        move(whole.pop().path, aside)
    return (whole[-1] if whole else None), said


def adopt(source: Path, folder: Path) -> None:
    """Bring a checkpoint from elsewhere (`resume_from_checkpoint`) into the training folder.

    Raises:
        StageFailed: it is not a whole checkpoint.
    """
    if not source.is_dir():
        raise StageFailed(f"resume_from_checkpoint: {source} is not there")
    step = look(source).step
    target = folder / f"checkpoint-{step}"
    if target.exists():
        return
    part = folder / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, copy_function=link)
    os.replace(part, target)


def link(source: str | Path, target: str | Path) -> str:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return str(target)


def move(path: Path, aside: Path) -> None:
    """Move a folder aside, in place of what bore its name there."""
    aside.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside / path.name, ignore_errors=True)
    shutil.move(path, aside / path.name)


def _archive(*paths: Path) -> None:
    """Each of `paths` that is there is a whole torch file (a zip archive), and one of them is there."""
    there = [path for path in paths if path.is_file()]
    if not there:
        raise StageFailed(f"{paths[0].name} is missing")
    for path in there:
        if not zipfile.is_zipfile(path):
            raise StageFailed(f"{path.name} is cut off")


def _deepspeed(path: Path) -> None:
    tag = (path / "latest").read_text(encoding="utf-8").strip()
    parts = sorted((path / tag).glob("*.pt")) if tag else []
    if not any("optim_states" in part.name for part in parts):
        raise StageFailed(f"{tag or 'the DeepSpeed state'} holds no optimizer state")
    _archive(*parts)
