"""What the run was made from, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from residency.report.markup import Child, Markup, tag
from residency.report.model import RunRecord
from residency.report.page.tables import facts, folded, table

HIDDEN = {
    "recipe",
    "command",
    "run",
    "name",
    "recipe_file",
    "profiles",
    "set",
    "started",
    "stages",
    "versions",
}
"""Keys of the lock that have a place of their own on the page."""


def section(record: RunRecord) -> Markup | None:
    """Sources with hashes and licences, versions, git, seeds, the resolved recipe."""
    lock = record.lock
    if not lock:
        return None
    parts: list[Child] = []
    sources = list(_sources(lock))
    if sources:
        parts.append(table(("Source", "From", "Licence", "SHA-256"), [_row(*item) for item in sources]))
    rest = {
        k: v for k, v in lock.items() if k not in HIDDEN and k not in ("sources",) and v not in (None, {}, [])
    }
    short = {k: v for k, v in rest.items() if not isinstance(v, Mapping) and not isinstance(v, list)}
    if short:
        parts.append(facts(short))
    for key, value in rest.items():
        if key not in short:
            content = facts(value if isinstance(value, Mapping) else {"": value})
            parts.append(folded(key.replace("_", " "), content, opened=key in ("git", "models", "seeds")))
    parts.append(_versions(lock.get("versions")))
    if isinstance(lock.get("recipe"), Mapping):
        parts.append(folded("the resolved recipe", facts(lock["recipe"])))
    return tag("section", tag("h2", "Made from"), tag("div", parts, class_="card"), id="origin")


SHOWN = (
    "python",
    "residency",
    "torch",
    "transformers",
    "llamafactory",
    "verl",
    "lm-eval",
    "deepspeed",
    "vllm",
)
"""The versions that a reader looks for; the lock has those of all that is installed."""


def _versions(found: Any) -> Markup | None:
    if not isinstance(found, Mapping) or not found:
        return None
    first = {name: found[name] for name in SHOWN if name in found}
    rest = {name: version for name, version in found.items() if name not in first}
    every = folded(f"all {len(found)}", facts(rest)) if first and rest else None
    return folded("versions", facts(first or rest), every, opened=True)


def _sources(lock: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every entry below `sources` that says where something came from, with its name."""

    def walk(value: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(value, Mapping):
            if value.keys() & {"sha256", "url", "licence"}:
                yield name, value
                return
            for key, item in value.items():
                yield from walk(item, f"{name} · {key}" if name else str(key))
        elif isinstance(value, list):
            for place, item in enumerate(value):
                own = item.get("name") if isinstance(item, Mapping) else None
                yield from walk(item, str(own) if own else f"{name} {place + 1}".strip())

    yield from walk(lock.get("sources"), "")


def _row(name: str, source: Mapping[str, Any]) -> tuple[Child, ...]:
    where = [str(source[k]) for k in ("url", "path", "file") if source.get(k)]
    member = source.get("member")
    digest = str(source.get("sha256") or "")
    return (
        name,
        [tag("code", " ".join(where[:1])), tag("div", str(member), class_="quiet small") if member else None],
        str(source.get("licence") or source.get("license") or "not told"),
        tag("code", digest, class_="hash") if digest else "none",
    )


def reproduce(record: RunRecord) -> Markup | None:
    """The command, the commit, the lock."""
    command = record.command
    if command.startswith("launch.py"):
        command = f"python {command}"
    commit, dirty = _git(record)
    lines: list[Child] = []
    if commit:
        lines.append(tag("p", "At commit ", tag("code", commit), " of the project", _dirty(dirty), ":"))
    if command:
        lines.append(
            tag(
                "div",
                tag("pre", command, class_="command"),
                tag("button", "Copy", type="button", class_="copy", hidden=True),
                class_="copyable",
            )
        )
    if record.lock_path:
        where = "/".join(record.lock_path.parts[-4:])
        lines.append(
            tag("p", "Data, models, code and versions are fixed in ", tag("code", where), class_="small")
        )
    if any(stage.command for stage in record.stages):
        lines.append(
            tag("p", "One stage by hand: ", tag("code", "sh command.txt"), " in its folder.", class_="small")
        )
    if not lines:
        return None
    return tag("section", tag("h2", "Repeat it"), tag("div", lines, class_="card"), id="repeat")


def _git(record: RunRecord) -> tuple[str, bool]:
    git = record.lock.get("git")
    if not isinstance(git, Mapping):
        return "", False
    return str(git.get("commit") or ""), bool(git.get("dirty"))


def _dirty(dirty: bool) -> Markup | None:
    return tag("b", " with changes that were not committed") if dirty else None
