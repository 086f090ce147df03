"""Makes an engine's environment: whole, or not at all.

It is built in a folder of its own name under `.venvs/` (a Python environment cannot be moved), and the
link `.venvs/NAME` is turned to it when the engine has been imported from it.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from residency import environments
from residency.errors import Missing, ResidencyError, StageFailed
from residency.files import write_json, write_text
from residency.setup.pins import Pins, normal

IMPORT_SECONDS = 300
"""How long the engine may take to import for the first time."""
LOG = "setup.log"

Say = Callable[[str], None]


def current(name: str, pins: Pins) -> bool:
    """Whether the environment is there, made from these pins by a Python of this version."""
    found = environments.record(name)
    return (
        found is not None
        and environments.python(name) is not None
        and found.get("pins") == pins.digest
        and found.get("python") == _python_version()
    )


def plan(pins: Pins) -> list[str]:
    """What would be done, in words."""
    steps = [f"a Python {_python_version()} environment of its own"]
    if pins.alone:
        less = f" less {', '.join(pins.without)}" if pins.without else ""
        steps.append(f"{', '.join(pins.alone)} without its requirements, then these{less}")
    if pins.lines:
        steps.append(f"{len(pins.lines)} pinned: {', '.join(pins.lines)}")
    if pins.stands_for:
        steps.append(f"a distribution without code named {pins.stands_for}, which it looks itself up by")
    return [*steps, f"`import {pins.module}` must work"]


def make(name: str, pins: Pins, say: Say = print) -> Path:
    """Make the environment and turn the link to it; one that was there before goes.

    Args:
        name: `vllm`.
        pins: What it is made from.
        say: Told what is being done.

    Returns:
        The link.

    Raises:
        Missing: not enough room on the disk, or a package that cannot be had.
        StageFailed: the engine does not import from it.
    """
    root = environments.root()
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / f".{name}.lock", name):
        _sweep(root, name)
        _check_room(root, pins)
        folder = root / f"{name}.{secrets.token_hex(4)}"
        began = time.monotonic()
        try:
            _build(folder, pins, say)
            versions = _versions(folder)
            write_json(
                folder / environments.RECORD,
                {
                    "name": name,
                    "engine": pins.engine,
                    "module": pins.module,
                    "file": pins.file.name,
                    "pins": pins.digest,
                    "python": _python_version(),
                    "seconds": round(time.monotonic() - began, 1),
                    "versions": versions,
                },
            )
        except BaseException:
            with suppress(OSError):
                shutil.copyfile(folder / LOG, root / f"{name}.{LOG}")
            shutil.rmtree(folder, ignore_errors=True)
            raise
        link = environments.folder(name)
        fresh = root / f".{name}.{secrets.token_hex(4)}"
        fresh.symlink_to(folder.name)
        os.replace(fresh, link)
        (root / f"{name}.{LOG}").unlink(missing_ok=True)
        _sweep(root, name)
    return link


def _build(folder: Path, pins: Pins, say: Say) -> None:
    say("making the environment")
    folder.mkdir()
    log = folder / LOG
    # Without a pip of its own: the launcher's installs into it.
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], log, "it cannot be made")
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input"]
    pip += ["install", "--no-color"]
    wanted: list[str] = []
    for requirement in pins.alone:
        say(f"installing {requirement} without its requirements")
        _run([*pip, "--no-deps", requirement], log, f"{requirement} cannot be installed")
        named = re.split(r"[=<>!\[ ]", requirement)[0]
        # A local build (+cpu) is another index's; the pins say which version is meant.
        wanted += [
            re.sub(r"(==[\w.]+)\+\w+", r"\1", line)
            for name, line in _requirements(folder, named)
            if normal(name) not in pins.without
        ]
    if wanted or pins.lines:
        file = folder / "requirements.txt"
        write_text(file, "".join(f"{line}\n" for line in (*pins.lines, *wanted)))
        say(f"installing {len(wanted) + len(pins.lines)} requirements and what they need")
        _run([*pip, "-r", str(file)], log, "the requirements cannot be installed")
    if pins.stands_for:
        _stand_in(folder, pins.stands_for)
    say(f"importing {pins.module}")
    env = {**os.environ, "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
    try:
        _output([python, "-c", f"import {pins.module}"], log, timeout=IMPORT_SECONDS, env=env)
    except StageFailed as error:
        raise StageFailed(f"{pins.module} was installed and does not import: {error.message}") from None


def _stand_in(folder: Path, requirement: str) -> None:
    """A distribution that has a name and a version, and no code."""
    name, _, version = requirement.partition("==")
    info = _site(folder) / f"{name.replace('-', '_')}-{version}.dist-info"
    if info.exists():
        return
    info.mkdir()
    write_text(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write_text(info / "INSTALLER", "residency\n")
    write_text(info / "RECORD", "")


def _run(argv: Sequence[str], log: Path, what: str) -> None:
    """Run a step.

    Raises:
        Missing: it failed; the message names the package.
    """
    with log.open("ab") as stream:
        start = stream.tell()
        stream.write(f"$ {' '.join(argv)}\n".encode())
        stream.flush()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        text = log.read_bytes()[start:].decode(errors="replace")
        reason, hint = explain(text)
        raise Missing(f"{what}: {reason}", hint)


def _output(
    argv: Sequence[str], log: Path, *, timeout: float = 120, env: dict[str, str] | None = None
) -> str:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StageFailed(f"no answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        with log.open("a") as stream:
            stream.write(done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StageFailed(lines[-1] if lines else f"it ended with {done.returncode}")
    return done.stdout


def explain(text: str) -> tuple[str, str | None]:
    """Why pip failed, the package named, and what to do."""
    for pattern, said, hint in (
        (
            r"No matching distribution found for (\S+)",
            "the index has no {}",
            "see that the index holds it for this Python; PIP_INDEX_URL names another index",
        ),
        (
            r"No space left on device",
            "the disk is full",
            "free some, or set RESIDENCY_VENVS to a folder on another disk",
        ),
        (
            r"(?:Failed building wheel for|Failed to build(?: installable wheels for some pyproject\.toml"
            r" based projects)?:?) \(?([\w.\-]+)",
            "{} cannot be built here",
            "it has no wheel for this Python; a compiler may be missing",
        ),
        (
            r"(?:Connection|Read) ?(?:to|timed out|Timeout|refused|broken)|Name or service not known"
            r"|Temporary failure in name resolution|NewConnectionError",
            "the index cannot be reached",
            "look at the network, and try again",
        ),
    ):
        if found := re.search(pattern, text):
            return said.format(*found.groups()), hint
    errors = re.findall(r"^\s*ERROR: (.+)$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line.strip()]
    return (errors[0] if errors else lines[-1] if lines else "it said nothing"), None


def _site(folder: Path) -> Path:
    """Where an environment's distributions lie."""
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _requirements(folder: Path, name: str) -> list[tuple[str, str]]:
    """(name, the whole without its marker) of what a distribution needs on this machine."""
    from packaging.requirements import Requirement

    found = []
    for one in importlib.metadata.distributions(path=[str(_site(folder))]):
        if normal(one.metadata["Name"]) != normal(name):
            continue
        for text in one.requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                wanted.marker = None
                found.append((wanted.name, str(wanted)))
    return found


def _versions(folder: Path) -> dict[str, str]:
    """Every distribution of the environment with its version."""
    there = importlib.metadata.distributions(path=[str(_site(folder))])
    return dict(sorted((normal(one.metadata["Name"]), one.version) for one in there))


def _check_room(root: Path, pins: Pins) -> None:
    free = shutil.disk_usage(root).free / 1e9
    if free < pins.gigabytes:
        raise Missing(
            f"{root} has {free:.1f} GB free, and the environment takes about {pins.gigabytes:g} GB",
            "free some, or set RESIDENCY_VENVS to a folder on another disk",
        )


def _sweep(root: Path, name: str) -> None:
    """Remove what the link does not point to: the environment before, one that was cut off."""
    link = root / name
    kept = link.resolve() if link.is_symlink() else None
    for path in root.glob(f"{name}.*"):
        if re.fullmatch(rf"{re.escape(name)}\.[0-9a-f]{{8}}", path.name) and path.resolve() != kept:
            shutil.rmtree(path, ignore_errors=True)
    for path in root.glob(f".{name}.*"):
        if path.is_symlink():
            path.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResidencyError(f"the environment {name} is being made already", "wait for it") from None
        yield


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
