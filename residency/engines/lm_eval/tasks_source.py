"""Writes the names of lm-eval's own tasks, groups and tags, one a line: `check` reads them there.

Listing them takes lm-eval 9 s (it reads 13,000 files), a check has a quarter of a second.
`python -m residency.engines.lm_eval.tasks_source` writes schemas/engines/lm_eval-VERSION.tasks.txt.
"""

from __future__ import annotations

import importlib.metadata

from residency.files import write_text
from residency.paths import PROJECT


def generate() -> str:
    """The file's text, from the installed lm-eval."""
    from lm_eval.tasks import TaskManager

    return "".join(f"{name}\n" for name in sorted(TaskManager().all_tasks))


if __name__ == "__main__":
    version = importlib.metadata.version("lm_eval")
    write_text(PROJECT / "schemas" / "engines" / f"lm_eval-{version}.tasks.txt", generate())
