"""The model card of an exported checkpoint: what it is made from, how, and with which result."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from residency import __version__
from residency.files import read_json, sha256_file

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "llamafactory")
HASHED = 1 << 30
"""Data files up to this size are hashed for the card."""
PRIVATE = ("env", "output_dir", "dataset_dir", "media_dir", "cache_dir", "use_cpu")
"""Keys that say where it ran, not what it did."""
# SPDX names as the hub spells them.
LICENCES = (
    (r"apache[- ]?(license,? version )?2(\.0)?", "apache-2.0"),
    (r"\bmit\b", "mit"),
    (r"bsd[- ]3", "bsd-3-clause"),
    (r"cc[- ]by[- ]nc[- ]4(\.0)?", "cc-by-nc-4.0"),
    (r"cc[- ]by[- ]4(\.0)?", "cc-by-4.0"),
    (r"llama ?-?3\.1", "llama3.1"),
    (r"llama ?-?3\.2", "llama3.2"),
    (r"llama ?-?3\.3", "llama3.3"),
    (r"gemma", "gemma"),
)


@dataclass(slots=True)
class Card:
    """What the card says."""

    name: str
    base: str | None = None
    """The model that it was made from, as a hub name where it has one."""
    licence: str | None = None
    how: str = ""
    """One sentence on what the export did."""
    source: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training: Path | None = None
    """The folder of the training stage that left the adapter or the model."""

    def text(self) -> str:
        """README.md."""
        head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
        if self.licence:
            head["license"] = hub_licence(self.licence)
        if self.base and re.fullmatch(r"[\w.-]+/[\w.-]+", self.base):
            head["base_model"] = self.base
        parts = ["---\n" + yaml.safe_dump(head, sort_keys=False) + "---", f"# {self.name}", self.how]
        facts = []
        if self.base:
            facts.append(f"- **Base model:** {self.base}")
        if self.licence:
            facts.append(f"- **Licence:** {self.licence}")
        if self.source:
            said = ", ".join(f"{key} `{value}`" for key, value in self.source.items() if key != "licence")
            facts.append(f"- **Source:** {said}")
        parts.append("\n".join(facts))
        if self.training is not None:
            parts += _training(self.training)
        parts.append("## Recipe\n\n" + _fenced(_shareable(self.recipe)))
        parts.append("## Versions\n\n" + _versions())
        return "\n\n".join(part for part in parts if part) + "\n"


def training_folder(path: Path) -> Path | None:
    """The stage's folder when `path` is an output of a training stage, else None."""
    stage = path.resolve().parent.parent
    return stage if path.resolve().parent.name == "outputs" and (stage / "train.yaml").is_file() else None


def inherited(folder: Path) -> tuple[str | None, str | None]:
    """The base model and the licence that a checkpoint's own card names."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return None, None
    match = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        head = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        head = None
    if not isinstance(head, dict):
        return None, None
    base = head.get("base_model")
    base = base[0] if isinstance(base, list) and base else base
    said = re.search(r"^- \*\*Base model:\*\* (.+)$", text, re.MULTILINE)
    licence = re.search(r"^- \*\*Licence:\*\* (.+)$", text, re.MULTILINE)
    return (
        base if isinstance(base, str) else (said[1] if said else None),
        licence[1] if licence else head.get("license"),
    )


def hub_licence(said: str) -> str:
    """A licence as the hub's front matter names it; `other` when it has no name there."""
    for pattern, name in LICENCES:
        if re.search(pattern, said, re.IGNORECASE):
            return name
    return "other"


def _training(folder: Path) -> list[str]:
    parts = []
    settings = _yaml(folder / "train.yaml")
    if settings:
        parts.append("## Training\n\nLLaMA-Factory, with these settings:\n\n" + _fenced(_shareable(settings)))
    data = _data(folder / "dataset_info.json")
    if data:
        parts.append("## Data\n\n" + data)
    metrics = (read_json(folder / "state.json") or {}).get("metrics") or {}
    rows = [
        f"| {key} | {_number(value)} |" for key, value in metrics.items() if isinstance(value, int | float)
    ]
    if rows:
        parts.append("## Training figures\n\n| figure | value |\n|---|---|\n" + "\n".join(rows))
    return parts


def _data(path: Path) -> str:
    rows = []
    for name, entry in (read_json(path) or {}).items():
        file = Path(str(entry.get("file_name", "")))
        if not file.is_file():
            where = next((v for k, v in entry.items() if k.endswith("_url")), "")
            rows.append(f"| {name} | {where} | |")
            continue
        digest = sha256_file(file) if file.stat().st_size <= HASHED else ""
        rows.append(f"| {name} | {file.name} | `{digest}` |")
    return "| dataset | file | SHA-256 |\n|---|---|---|\n" + "\n".join(rows) if rows else ""


def _shareable(value: Any) -> Any:
    """A recipe without the folders of the machine it ran on, nor what stands under `env`."""
    if isinstance(value, Mapping):
        return {key: _shareable(item) for key, item in value.items() if key not in PRIVATE}
    if isinstance(value, list):
        return [_shareable(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        path = Path(value)
        return (
            f"…/{path.parent.parent.name}/{path.name}" if path.parent.name == "outputs" else f"…/{path.name}"
        )
    return value


def _fenced(value: Any) -> str:
    return "```yaml\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True) + "```"


def _versions() -> str:
    rows = [f"- residency {__version__}"]
    for name in LIBRARIES:
        try:
            rows.append(f"- {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(rows)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}
