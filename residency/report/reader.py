"""Reads the files of a run, whatever state they are in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Reader:
    """Reads files below a run directory and remembers what was wrong with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def _note(self, path: Path, what: str) -> None:
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        said = f"{shown}: {what}"
        if said not in self.problems:  # a file may be read twice
            self.problems.append(said)

    def json(self, path: Path) -> dict[str, Any]:
        """The mapping in a JSON file; empty when it is missing or damaged."""
        try:
            value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._note(path, f"cannot be read ({error})")
            return {}
        if isinstance(value, dict):
            return value
        self._note(path, "holds no mapping")
        return {}

    def yaml(self, path: Path) -> dict[str, Any]:
        """The mapping in a YAML file; empty when it is missing or damaged."""
        import yaml

        try:
            value = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return {}
        except (OSError, yaml.YAMLError, ValueError) as error:
            self._note(path, f"cannot be read ({str(error).splitlines()[0]})")
            return {}
        return value if isinstance(value, dict) else {}

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        """The mappings in a JSONL file. A last line cut short by a killed writer is passed over."""
        bad = 0
        try:
            with path.open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    if not line.strip():
                        continue
                    try:
                        value = json.loads(line)
                    except ValueError:
                        bad += line.endswith("\n")
                        continue
                    if isinstance(value, dict):
                        yield value
                    else:
                        bad += 1
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(path, f"cannot be read ({error})")
        if bad:
            self._note(path, f"{bad} lines cannot be read")

    def text(self, path: Path) -> str:
        """The text of a small file; empty when it is missing."""
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def tail(self, path: Path, size: int, end: int | None = None) -> str:
        """The last bytes of a file, or of its first `end` bytes, from the start of a line."""
        try:
            with path.open("rb") as stream:
                length = stream.seek(0, os.SEEK_END) if end is None else end
                start = max(0, length - size)
                stream.seek(start)
                found = stream.read(length - start).decode("utf-8", errors="replace")
        except OSError:
            return ""
        return found.split("\n", 1)[-1] if length > size else found
