"""A stage's fingerprint: what its result depends on, and nothing else.

The parts are kept beside the hash, so that a plan can say which of them changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from residency.files import sha256_value
from residency.plan import functions
from residency.plan.hashing import FileHashes
from residency.recipe import tokens
from residency.stages.base import Inputs

# Keys of every recipe that say how it is called or where it runs, not what it computes.
NOT_COUNTED = ("name", "description", "services")
GPUS = "gpus"
_ASKED_GPUS = "resources.gpus"
LONG = 120
MANY_FILES = 4000
_CONTENT = re.compile(r'"content:([^"]+)"')


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping with its dotted key; lists count as one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _brief(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    # Files by their content stay legible: `difference` finds their names by it.
    longest = MANY_FILES if _CONTENT.search(text) else LONG
    return text if len(text) <= longest else f"sha256:{sha256_value(value)}"


def parts(
    config: Mapping[str, Any],
    inputs: Inputs,
    *,
    engine: str,
    engine_version: str | None,
    stage_key: Callable[[str], str],
    hashes: FileHashes,
    recipe_folder: Path,
    roots: tuple[Path, ...],
    packages: tuple[str, ...] = functions.RECIPE_PACKAGES,
    gpus: int = 0,
) -> dict[str, str]:
    """What a stage's result depends on, each with its value or hash.

    Args:
        config: The resolved recipe, tokens included.
        inputs: What the stage kind says counts.
        engine: The engine's name.
        engine_version: Its installed version.
        stage_key: Store key of an earlier stage, by name.
        hashes: Remembered file hashes.
        recipe_folder: Where relative paths start.
        roots: Folders below which dotted paths are looked up.
        packages: Packages whose code belongs to a recipe.
        gpus: GPUs that count: those that the stage gets, not those that the recipe asks for. A
            batch size is said for each, so training on four of them is another training.
    """
    content: dict[str, str] = {}
    for path in inputs.files:
        if path.exists():
            content[str(path)] = hashes.of(path)

    def symbolic(token: str) -> str:
        kind, target = tokens.parse(token)
        return f"stage:{stage_key(target[0])}/{target[1]}" if kind == "stage" else f"<{token}>"

    def by_content(value: Any) -> Any:
        if isinstance(value, str):
            if value in content:
                return f"content:{content[value]}"
            joined = str((recipe_folder / value).absolute()) if value and len(value) < 4096 else value
            return f"content:{content[joined]}" if joined in content else value
        if isinstance(value, list):
            return [by_content(item) for item in value]
        return value

    found: dict[str, str] = {}
    for key, value in leaves(tokens.replace(dict(config), symbolic)):
        if key.split(".")[0] in NOT_COUNTED or _ignored(key, (*inputs.ignore, _ASKED_GPUS)):
            continue
        found[f"recipe.{key}"] = _brief(by_content(value))
    names: dict[str, int] = {}
    for path in inputs.files:
        digest = content.get(str(path), "missing")
        name = f"file.{path.name}"
        names[name] = names.get(name, 0) + 1
        found[name if names[name] == 1 else f"{name}#{names[name]}"] = digest
    for dotted in inputs.functions:
        found[f"function.{dotted}"] = functions.source_hash(dotted, roots, packages)
    found["engine"] = f"{engine} {engine_version or 'not installed'}"
    for name, version in inputs.versions.items():
        found[f"version.{name}"] = version
    if gpus:  # on a CPU nothing is added
        found[GPUS] = str(gpus)
    return found


def _ignored(key: str, ignore: tuple[str, ...]) -> bool:
    return any(key == item or key.startswith(item + ".") for item in ignore)


def fingerprint(found: Mapping[str, str]) -> str:
    """The SHA-256 over all parts, 64 hex digits."""
    return sha256_value(dict(found))


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What changed between two stages' parts, in a few words; empty when nothing did."""
    devices = [parts.get(GPUS, "") for parts in (old, new)]
    old, new = ({k: v for k, v in parts.items() if k != GPUS} for parts in (old, new))
    said = [] if devices[0] == devices[1] else [" instead of ".join(map(_devices, reversed(devices)))]
    old, new, replaced = _files_once(old, new)
    said += replaced
    changed = [key for key in new if key in old and old[key] != new[key]]
    said += [_change(key, old[key], new[key]) for key in changed]
    said += [f"{_short(key)} added" for key in new if key not in old]
    said += [f"{_short(key)} removed" for key in old if key not in new]
    if len(said) > 3:
        return ", ".join(said[:3]) + f" and {len(said) - 3} more"
    return ", ".join(said)


def _files_once(
    old: Mapping[str, str], new: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """The parts less those that say of a file what another part says.

    A file stands in the parts twice: by its name, and where the recipe names it. Returns the
    two sets of parts, and `new.jsonl instead of old.jsonl` for each file that took another's place.
    """
    old, new = dict(old), dict(new)
    names = [
        {digest: key for key, digest in parts.items() if key.startswith("file.")} for parts in (old, new)
    ]
    renamed = {key: names[1].get(digest, key) for digest, key in names[0].items() if key not in new}
    pairs_of_names = [(was, now) for was, now in renamed.items() if was != now and now not in old]
    for key in [k for k in new if k.startswith("recipe.") and k in old and old[k] != new[k]]:
        before, after = _CONTENT.findall(old[key]), _CONTENT.findall(new[key])
        if len(before) != len(after) or _CONTENT.sub("", old[key]) != _CONTENT.sub("", new[key]):
            continue  # more has changed than what lies in its files
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        if not all(a in names[0] and b in names[1] for a, b in pairs):
            continue
        del old[key], new[key]
        for a, b in pairs:
            was, now = names[0][a], names[1][b]
            if was != now:
                pairs_of_names.append((was, now))
    for was, now in pairs_of_names:
        old.pop(was, None)
        new.pop(now, None)
    said = [f"{_short(now)} instead of {_short(was)}" for was, now in pairs_of_names]
    return old, new, list(dict.fromkeys(said))


def _devices(gpus: str) -> str:
    return f"{gpus} GPU{'s' if gpus != '1' else ''}" if gpus else "the CPU"


def _short(key: str) -> str:
    if key.startswith("service."):
        _, name, part = key.split(".", 2)
        return f"{_short(part)} of the service {name}"
    for prefix in ("recipe.", "file.", "version.", "llamafactory.", "lm_eval."):
        key = key.removeprefix(prefix)
    return key


def _change(key: str, old: str, new: str) -> str:
    opaque = old.startswith(("sha256:", '"content:', '"stage:')) or new.startswith(
        ("sha256:", '"content:', '"stage:')
    )
    if key.startswith("version.dataset_info."):
        return f"the entry of {_short(key).removeprefix('dataset_info.')} in dataset_info.json changed"
    if key.startswith("service."):
        _, name, part = key.split(".", 2)
        return f"the service {name}: {_change(part, old, new)}"
    if key.startswith(("file.", "function.")):
        return f"{key.split('.', 1)[1]} changed"
    if '"stage:' in new or ("stage:" in new and "stage:" in old):
        return f"{_short(key)} comes from a stage that changed"
    return f"{_short(key)} changed" if opaque else f"{_short(key)} changed: {old} → {new}"
