"""Looks up dotted paths in a child process with limits, and remembers what it found.

What is remembered of a path holds as long as the files that its import read from the project,
and Python itself, stay the same; so a second check starts no process.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from residency.files import read_object, write_text
from residency.paths import cache_dir

CHILD = Path(__file__).with_name("dotted_child.py")
SECONDS = 30.0
"""How long one path may take; importing torch on a busy machine takes ten."""
LEAST_BYTES = 4 << 30
FORM = 4
"""Changes when answers do, so that those of an older version are not used."""
_KEPT = 2000

Answer = dict[str, Any]


def probe(
    paths: Sequence[str], project: Path, *, seconds: float = SECONDS, cache: Path | None = None
) -> dict[str, Answer]:
    """What stands at each dotted path.

    Args:
        paths: Dotted paths, of packages that may be imported.
        project: The folder that holds rewards/ and processors/.
        seconds: How long one of them may take.
        cache: The file of what is remembered; default in the user's cache folder.

    Returns:
        For each path `parameters` ([name, kind, has a default] each, or None), `values` (parameter →
        the JSON Schema of its values), `fields` (`residency.processing.gives`) and `tool` (what a
        model could be told of it: `summary`, `described`, `typed`; None when it is no function), or `error`:
        `module`, `name`, `not-callable`, `syntax`, `import`, `hang` or `crash`, with what is
        known of it (`message`, `file`, `line`, `column`, `options`, `at`).
    """
    cache = cache or cache_dir() / "dotted.json"
    known = read_object(cache)
    found: dict[str, Answer] = {}
    for path in dict.fromkeys(paths):
        kept = known.get(_key(path, project))
        if kept is not None and kept["stamps"] == _stamps(kept["answer"]["files"]):
            found[path] = kept["answer"]
    unknown = [path for path in dict.fromkeys(paths) if path not in found]
    if not unknown:
        return found
    for path, answer in _ask(unknown, project, seconds):
        found[path] = answer
        if "error" not in answer:
            known[_key(path, project)] = {"stamps": _stamps(answer["files"]), "answer": answer}
    _write(cache, known)
    return found


def _ask(paths: list[str], project: Path, seconds: float) -> Iterator[tuple[str, Answer]]:
    """Answers from a child; one that hangs or dies is replaced for the paths after it."""
    while paths:
        answered = 0
        for path, answer in _one_child(paths, project, seconds):
            answered += 1
            yield path, answer
        paths = paths[answered:]


def _one_child(paths: list[str], project: Path, seconds: float) -> Iterator[tuple[str, Answer]]:
    request = {
        "paths": paths,
        "project": str(project),
        "seconds": max(1, round(seconds)),
        "bytes": max(LEAST_BYTES, _memory() // 2),
    }
    quiet = {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
    }
    child = subprocess.Popen(
        [sys.executable, str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=project,
        env={**os.environ, **quiet},
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    waiting = 0
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
        for event in _events(child, seconds):
            if event is None:
                yield paths[waiting], {"error": "hang", "seconds": seconds, "files": []}
                return
            if "begin" not in event:
                yield paths[waiting], event
                waiting += 1
                if waiting == len(paths):
                    return
        code = child.wait()
        yield paths[waiting], {"error": "crash", "message": _death(code), "files": []}
    except BrokenPipeError:
        yield paths[waiting], {"error": "crash", "message": "it ended at once", "files": []}
    finally:
        _end(child)


def _events(child: subprocess.Popen[bytes], seconds: float) -> Iterator[Answer | None]:
    """The child's lines as they come; None when none came for `seconds`."""
    assert child.stdout is not None
    handle = child.stdout.fileno()
    os.set_blocking(handle, False)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        deadline = time.monotonic() + seconds
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                yield None
                return
            data = os.read(handle, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                yield json.loads(line)
                deadline = time.monotonic() + seconds


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _death(code: int) -> str:
    if code >= 0:
        return f"it ended the process with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"it ended the process ({name})"


def _memory() -> int:
    """The machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _key(path: str, project: Path) -> str:
    return f"{FORM} {path} {project} {sys.executable} {sys.version_info[:3]}"


def _stamps(files: list[str]) -> list[list[int]]:
    """[modified (ns), size] of each file; [] for one that is gone."""
    found: list[list[int]] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            found.append([])
            continue
        found.append([status.st_mtime_ns, status.st_size])
    return found


def _write(cache: Path, known: dict[str, Any]) -> None:
    """Keep the latest; a cache that cannot be written is no reason to fail."""
    try:
        write_text(cache, json.dumps(dict(list(known.items())[-_KEPT:])))
    except OSError:
        return
