"""What each environment has, what is wrong with it, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from residency import environments
from residency.paths import PROJECT, cache_dir, runs_dir
from residency.setup import make, pins
from residency.setup.pins import normal

State = Literal["good", "absent", "warning", "wrong"]
"""absent: not made, which is no fault. A warning stops nothing; what is wrong does."""

IMPORTS = ("torch", "transformers", "llamafactory", "verl", "lm_eval", "faiss", "ray")
"""What the main environment must import."""
LOCK, INSTALL = PROJECT / "requirements" / "main.txt", "make install"
IMPORT_SECONDS = 180
LOW_DISK, LOW_SHM = 5e9, 1e9
_SHM = Path("/dev/shm")
_RAY = Path("/tmp/ray")
_PIN = re.compile(r"^([A-Za-z0-9][\w.\-]*)==(\S+)")


@dataclass(slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    said: str
    mend: str | None = None
    """The command that mends it."""
    more: dict[str, Any] = field(default_factory=dict)
    """Figures, for programs."""

    def to_json(self) -> dict[str, Any]:
        """As `--format json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """All that was looked at."""

    main: list[Finding]
    """The main environment, on which the exit code depends."""
    engines: list[Finding]
    machine: list[Finding]

    @property
    def fine(self) -> bool:
        """Whether the main environment is."""
        return all(finding.state != "wrong" for finding in self.main)

    def to_json(self) -> dict[str, Any]:
        """As `--format json` prints it."""
        parts = {"main": self.main, "engines": self.engines, "machine": self.machine}
        return {"fine": self.fine, **{k: [f.to_json() for f in v] for k, v in parts.items()}}


def look(*, imports: bool = True) -> Report:
    """Look at everything.

    Args:
        imports: Whether engines are imported, each in a process of its own; it takes up to a minute.
    """
    return Report(
        main=list(main_environment(imports=imports)),
        engines=[engine(name, imports=imports) for name in pins.names()],
        machine=[gpus(), *disks(), shared_memory(), ray()],
    )


def main_environment(*, imports: bool, lock: Path = LOCK) -> Iterator[Finding]:
    """The launcher's own: Python, versions against the pins, imports."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding(
        "Python",
        "good" if good else "wrong",
        f"{version}, {sys.executable}",
        None if good else "make PYTHON=python3.12 install",
    )
    wanted = locked(lock)
    yield versions("packages", wanted, installed(wanted), INSTALL)
    if imports:
        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(lambda module: imported(sys.executable, module, INSTALL), IMPORTS)


def locked(lock: Path) -> dict[str, str]:
    """Distribution → version, of a file of pins and of the engines' beside it."""
    found: dict[str, str] = {}
    for file in (lock, lock.parent / "engines.txt"):
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            found |= {normal(m[1]): m[2] for line in lines if (m := _PIN.match(line))}
    return found


def installed(names: Mapping[str, str]) -> dict[str, str]:
    """The installed versions of these distributions; those that are missing are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def versions(name: str, wanted: Mapping[str, str], there: Mapping[str, str], mend: str) -> Finding:
    """What is installed against what should be. Another version is a warning, none at all is wrong."""
    missing = sorted(set(wanted) - set(there))
    other = {
        key: there[key] for key in sorted(there.keys() & wanted.keys()) if not _same(there[key], wanted[key])
    }
    more = {"missing": missing, "other": {k: {"is": v, "pinned": wanted[k]} for k, v in other.items()}}
    if missing:
        return Finding(
            name, "wrong", f"{len(missing)} of {len(wanted)} are missing: {_some(missing)}", mend, more
        )
    if other:
        listed = _some([f"{key} {value} (pinned {wanted[key]})" for key, value in other.items()])
        return Finding(
            name, "warning", f"{len(other)} of {len(wanted)} have another version: {listed}", mend, more
        )
    return Finding(name, "good", f"{len(wanted)} as pinned", None, more)


def imported(python: str, module: str, mend: str, seconds: float = IMPORT_SECONDS) -> Finding:
    """Whether a module imports, in a process of its own."""
    name = f"import {module}"
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    path = {"PYTHONPATH": str(_standin())} if module == "llamafactory" and _standin() else {}
    try:
        done = subprocess.run(
            [python, "-c", f"import {module}"],
            env={**os.environ, **quiet, **path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "wrong", f"no end within {seconds:.0f} s", mend)
    except OSError as error:
        return Finding(name, "wrong", f"{python} cannot be started: {error.strerror}", mend)
    if done.returncode == 0:
        return Finding(name, "good", "works")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"it ended with {done.returncode}"
    return Finding(name, "wrong", reason, mend)


def _standin() -> Path | None:
    """What stands for torchaudio where there is none, as when LLaMA-Factory trains."""
    import importlib.util

    return (
        PROJECT / "residency/engines/llamafactory/standin"
        if importlib.util.find_spec("torchaudio") is None
        else None
    )


def engine(name: str, *, imports: bool) -> Finding:
    """The environment of an engine of its own."""
    from residency.plan import machine

    wanted = pins.choose(name, gpu=machine.gpu_count() > 0)
    command = f"python launch.py setup {name}"
    record, python = environments.record(name), environments.python(name)
    if record is None or python is None:
        link = environments.folder(name)
        if link.is_symlink() or link.exists():
            return Finding(name, "wrong", f"{link} is broken", f"{command} --again")
        return Finding(
            name, "absent", f"not made ({wanted.file.name}, about {wanted.gigabytes:g} GB)", command
        )
    there = {str(k): str(v) for k, v in (record.get("versions") or {}).items()}
    has = f"{wanted.engine} {there.get(normal(wanted.engine), '?')}"
    if not make.current(name, wanted):
        return Finding(name, "warning", f"{has}; the pins in {wanted.file.name} are newer", command)
    found = versions(name, wanted.requirements, there, f"{command} --again")
    if found.state == "good" and imports:
        found = imported(str(python), wanted.module, f"{command} --again")
        found.name = name
    said = has if found.state == "good" else f"{has}; {found.said}"
    return Finding(name, found.state, said, found.mend, {"versions": there})


def gpus() -> Finding:
    """The GPUs that a stage would see."""
    from residency.plan import machine

    found = machine.gpus()
    if found:
        listed = ", ".join(f"{gpu.name} ({gpu.memory / (1 << 30):.0f} GiB)" for gpu in found)
        return Finding("GPU", "good", listed, None, {"gpus": [asdict(gpu) for gpu in found]})
    if machine.gpu_count():
        return Finding("GPU", "warning", "nvidia-smi does not answer", "nvidia-smi")
    return Finding(
        "GPU", "absent", f"none; stages run on {machine.cpu_count()} CPU cores", None, {"gpus": []}
    )


def disks() -> Iterator[Finding]:
    """Room where runs, downloads and environments go."""
    seen: dict[int, list[str]] = {}
    free: dict[int, int] = {}
    places = {"runs": runs_dir(), "downloads": cache_dir(), "environments": environments.root()}
    for name, path in places.items():
        there = next(one for one in (path, *path.parents) if one.exists())
        device = there.stat().st_dev
        seen.setdefault(device, []).append(name)
        free[device] = shutil.disk_usage(there).free
    for device, names in seen.items():
        left = free[device]
        state: State = "good" if left >= LOW_DISK else "warning"
        mend = (
            None
            if left >= LOW_DISK
            else "free some, or set RESIDENCY_RUNS, RESIDENCY_CACHE or RESIDENCY_VENVS"
        )
        yield Finding("disk", state, f"{left / 1e9:.0f} GB free for {', '.join(names)}", mend, {"free": left})


def shared_memory(folder: Path = _SHM) -> Finding:
    """/dev/shm, which Ray and the workers of data loaders use."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return Finding(str(folder), "warning", "it is not there; Ray is slow without", None)
    said = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free"
    more = {"free": usage.free, "total": usage.total}
    if usage.free < LOW_SHM:
        return Finding(
            str(folder), "warning", said, "remove what is left there, or `docker run --shm-size=8g`", more
        )
    return Finding(str(folder), "good", said, None, more)


def ray(folder: Path = _RAY) -> Finding:
    """Sessions and processes that Ray left."""
    sessions = [path for path in folder.glob("session_2*") if path.is_dir()] if folder.is_dir() else []
    running = _ray_processes()
    more = {"sessions": len(sessions), "processes": running}
    if running:
        said = f"{len(running)} of its processes run (a training under way, or one that was cut off)"
        return Finding("Ray", "warning", said, "ray stop, when no training runs", more)
    if len(sessions) > 20:
        return Finding("Ray", "warning", f"{len(sessions)} old sessions in {folder}", f"rm -r {folder}", more)
    return Finding("Ray", "good", "nothing left over", None, more)


def _ray_processes(proc: Path = Path("/proc")) -> list[int]:
    found = []
    for entry in proc.glob("[0-9]*"):
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            first = (entry / "cmdline").read_bytes().split(b"\0", 1)[0]
        except OSError:
            continue
        if first.rpartition(b"/")[2] in (b"raylet", b"gcs_server"):
            found.append(int(entry.name))
    return sorted(found)


def _same(a: str, b: str) -> bool:
    """Whether two versions are the same but for a local build (`2.13.0+cpu`)."""
    return a.partition("+")[0] == b.partition("+")[0]


def _some(words: list[str], most: int = 6) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
