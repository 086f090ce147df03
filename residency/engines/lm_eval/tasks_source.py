"""Writes the names of lm-eval's own tasks, groups and tags, one a line: `check` reads them there.

Listing them takes lm-eval 9 s (it reads 13,000 files), a check has a quarter of a second.
`launch.py schema` runs this in a process of its own, `python -m residency.engines.lm_eval.tasks_source
OUT.txt`, and keeps the list as schemas/engines/lm_eval-VERSION.tasks.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path


def generate() -> str:
    """The file's text, from the installed lm-eval."""
    from lm_eval.tasks import TaskManager

    return "".join(f"{name}\n" for name in sorted(TaskManager().all_tasks))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(generate(), encoding="utf-8")
