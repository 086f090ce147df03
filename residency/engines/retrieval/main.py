"""The command of an index stage: `python -m residency.engines.retrieval.main stage.yaml`.

Runs in the stage's folder, and can be run again there at any time: what is whole is kept.
"""

from __future__ import annotations

import errno
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from residency.errors import EXIT_FAILED, ResidencyError
from residency.paths import cache_dir

if TYPE_CHECKING:
    from residency.engines.retrieval.boolean_make import BooleanMaker
    from residency.engines.retrieval.make import Maker

_FULL = 4 << 20
"""A disk with fewer bytes left is full."""


def main(argv: list[str]) -> int:
    """Make the index; 0 when it is there."""
    path = Path(argv[0] if argv else "stage.yaml").absolute()
    hint = None
    try:
        stage = yaml.safe_load(path.read_text(encoding="utf-8"))
        maker = _maker(stage, path.parent)
        hint = maker.less_memory
        maker.make()
    except ResidencyError as error:
        return _said(error.message, error.hint, error.exit_code)
    except MemoryError:
        return _said("the machine ran out of memory", hint)
    except OSError as error:
        full = _full(error, path.parent)
        if full is not None:
            return _said(
                f"the disk of {full} is full",
                "make room and run the same command: it goes on where it stopped; RESIDENCY_RUNS and "
                "RESIDENCY_CACHE choose other disks",
            )
        traceback.print_exc()
        where = f": {error.filename}" if error.filename else ""
        return _said(f"{error.strerror or error}{where}", None)
    return 0


def _maker(stage: dict[str, Any], folder: Path) -> Maker | BooleanMaker:
    """What makes this stage's index; a Boolean one needs neither FAISS nor torch."""
    if stage.get("engine") == "boolean":
        from residency.engines.retrieval.boolean_make import BooleanMaker

        return BooleanMaker(stage, folder)
    from residency.engines.retrieval.make import Maker

    return Maker(stage, folder)


def _said(message: str, hint: str | None, code: int = EXIT_FAILED) -> int:
    print(f"error: {message}", flush=True)
    if hint:
        print(f"hint: {hint}", flush=True)
    return code


def _full(error: OSError, folder: Path) -> Path | None:
    """The folder whose disk has no room, or None when that is not what went wrong.

    numpy and FAISS report a short write without saying why, so that the disks are asked too.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Path(error.filename).parent if error.filename else folder
    for place in (folder, cache_dir()):
        if place.is_dir() and shutil.disk_usage(place).free < _FULL:
            return place
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
