"""A published launch script of verl as a recipe that means the same.

The script is read, never run. Keys of older verl get their names of today; what the launcher sets itself
is left out; what only a running shell could tell becomes a parameter. All of it is said: in the comments
at the recipe's head, and on the command line.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from residency.engines.verl import tree
from residency.engines.verl.importing import hydra_words, keys, shell_words, write
from residency.engines.verl.importing.shell_words import Hole, Started, Value
from residency.errors import RecipeInvalid

MAIN = re.compile(r"(^|[./])main_(ppo|dapo)(\.py)?$")
OTHER_MAIN = re.compile(r"^(verl|recipe)\.[\w.]+$")
_SECRET = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD)($|_)", re.I)
_OWN_ENV = frozenset({"CUDA_VISIBLE_DEVICES", "PYTHONPATH", "RAY_ADDRESS", "PATH", "HYDRA_FULL_ERROR"})
"""Variables that the launcher sets, or that belong to a machine."""
MEGATRON = re.compile(r"megatron|torchtitan|veomni|automodel")


@dataclass(slots=True)
class Imported:
    """What a script was made into."""

    text: str
    """The recipe."""
    notes: list[str] = field(default_factory=list)
    """What was changed, assumed or left out."""
    todo: list[str] = field(default_factory=list)
    """What only the user can fill in."""


@dataclass(slots=True)
class Call:
    """How the script calls verl."""

    overrides: dict[str, tree.Setting] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    """Parameter → what it stands for."""
    env: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    config_name: str | None = None
    config_path: str | None = None


def to_recipe(script: Path, text: str, *, out: Path, cwd: Path, schema: Path) -> Imported:
    """The recipe of a launch script.

    Args:
        script: The script's path, for its name.
        text: Its text.
        out: Where the recipe will stand; its folder is where paths then start.
        cwd: Where the script would have been started: where its paths start now.
        schema: `recipe.schema.json`, for the first line, which tells editors what the file is.

    Raises:
        RecipeInvalid: the script starts nothing of verl's, or something that no recipe can say.
    """
    call = read_call(text)
    base = _base_config(call, script, cwd)
    for name, setting in base.items():
        if not any(other == name or other.startswith(name + ".") for other in call.overrides):
            call.overrides[name] = setting
    _refuse_megatron(call)
    found = keys.translate(call.overrides)
    notes = [*call.notes, *found.notes]
    todo = [*call.todo, *found.todo]
    body = write.recipe(
        script=script,
        out=out,
        cwd=cwd,
        schema=schema,
        found=found,
        params=call.params,
        env=call.env,
        notes=notes,
        todo=todo,
    )
    return Imported(body, notes, todo)


def read_call(text: str) -> Call:
    """What the script would start verl with.

    Raises:
        RecipeInvalid: it starts nothing of verl's.
    """
    script = shell_words.read(text)
    starts = [c for c in script.commands if any(MAIN.search(_shown(word)) for word in c.words)]
    if not starts:
        raise RecipeInvalid(*_nothing(script))
    call = Call(notes=list(script.notes))
    started = starts[0]
    if len(starts) > 1:
        lines = ", ".join(str(c.line) for c in starts[1:])
        call.notes.append(f"it starts verl {len(starts)} times; line {started.line} is taken, not {lines}")
    at = next(n for n, word in enumerate(started.words) if MAIN.search(_shown(word)))
    if "main_dapo" in _shown(started.words[at]):
        call.notes.append("it starts main_dapo, whose filtering is `algorithm.filter_groups` of main_ppo now")
    _environment(started, script.used, call)
    _words(list(started.words[at + 1 :]), call)
    lost = [c for c in script.commands if len(c.words) <= 2 and hydra_words.parse(_shown(c.words[0]))]
    for command in lost:
        if "." in _shown(command.words[0]).partition("=")[0]:
            call.notes.append(
                f"line {command.line}: `{_shown(command.words[0])}` is no part of the command, "
                "which a comment or a missing backslash ends above it"
            )
    return call


def _nothing(script: shell_words.Script) -> tuple[str, str]:
    for command in script.commands:
        for word in map(_shown, command.words):
            if OTHER_MAIN.match(word) or re.search(r"(^|/)main_\w+\.py$|fsdp_sft_trainer", word):
                return (
                    f"line {command.line}: the script starts {word}, not verl.trainer.main_ppo",
                    "a recipe of kind rlvr is what main_ppo does; for SFT use `kind: sft`",
                )
    return (
        "the script starts nothing of verl's",
        "it must hold a command such as `python3 -m verl.trainer.main_ppo …`",
    )


def _words(words: list[Value], call: Call) -> None:
    """Options and overrides behind `verl.trainer.main_ppo`."""
    options = {"--config-name": "config_name", "-cn": "config_name", "--config-path": "config_path",
               "-cp": "config_path", "--config-dir": "config_path", "-cd": "config_path"}  # fmt: skip
    skipped: list[str] = []
    while words:
        word = words.pop(0)
        shown = _shown(word)
        option, equals, rest = shown.partition("=")
        if option in options:
            if not equals and words:
                rest = _shown(words.pop(0))
            setattr(call, options[option], rest)
        elif shown.startswith("-"):
            skipped.append(shown)
        else:
            _override(word, shown, call, skipped)
    if skipped:
        call.notes.append("left out, since they are no settings: " + ", ".join(f"`{w}`" for w in skipped))


def _override(word: Value, shown: str, call: Call, skipped: list[str]) -> None:
    override = hydra_words.parse(shown)
    if override is None:
        if shown.strip():
            skipped.append(shown)
        return
    holes = [part for part in word if isinstance(part, Hole)]
    if holes and override.name in keys.NAMES:
        call.notes.append(f"`{override.name}` left out: runs are named by the launcher")
        return
    made: hydra_words.Override | None = override
    if override.name not in keys.SHOWN:
        text = "".join(p if isinstance(p, str) else _param(p, override.name, call) for p in word)
        made = hydra_words.parse(text)
    assert made is not None
    call.overrides.pop(made.name, None)
    call.overrides[made.name] = tree.Setting(made.name, made.prefix, made.value)


def _param(hole: Hole, name: str, call: Call) -> str:
    """The interpolation that stands for what the text does not tell."""
    if hole.kind == "variable":
        own, what = hole.text.lower(), f"the script's ${hole.text}, which it does not set"
    elif hole.kind == "argument":
        own, what = f"argument_{hole.text}", f"the script's argument ${hole.text}"
    else:
        own = name.rsplit(".", 1)[-1]
        what = f"what `$({hole.text})` gives, in `{name}`"
    own = re.sub(r"\W", "_", own)
    if own not in call.params:
        call.params[own] = what
        call.todo.append(f"params.{own}: {what}")
    return f"${{params.{own}}}"


def _environment(started: Started, used: set[str], call: Call) -> None:
    """Exported variables that the script itself does not read are meant for verl."""
    for name, value in started.env.items():
        if name in _OWN_ENV or name in used:
            continue
        text = shell_words.plain(value)
        if _SECRET.search(name):
            call.env[name] = f"${{secret:{name}}}"
            call.todo.append(f"{name} in the environment; its value is not copied")
        elif text is None:
            call.notes.append(f"`{name}` is not set, since the script's text does not tell its value")
        else:
            call.env[name] = text.replace("${", "\\${")


def _base_config(call: Call, script: Path, cwd: Path) -> dict[str, tree.Setting]:
    """The keys of the file that `--config-name` names, where it can be found."""
    name = (call.config_name or "ppo_trainer").removesuffix(".yaml")
    if name == "ppo_trainer":
        return {}
    if MEGATRON.search(name):
        raise RecipeInvalid(*_MEGATRON)
    folders = [cwd / (call.config_path or "."), script.absolute().parent / (call.config_path or ".")]
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            import yaml

            try:
                value = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
                raise RecipeInvalid(f"{path} cannot be read: {error}") from error
            given = {k: v for k, v in (value or {}).items() if k not in ("defaults", "hydra")}
            call.notes.append(f"the keys of {os.path.relpath(path, cwd)} stand below the script's own")
            return tree.settings(given)
    shown = f"{call.config_path}/{name}.yaml" if call.config_path else f"{name}.yaml"
    call.todo.append(f"the keys of its configuration file {shown}, which is not here")
    return {}


_MEGATRON = (
    "the script trains with Megatron (or another engine than FSDP), which recipes do not",
    "take the FSDP variant of the script, most have one",
)


def _refuse_megatron(call: Call) -> None:
    engine = call.overrides.pop("model_engine", None)
    if engine is not None and engine.value != "dp":
        raise RecipeInvalid(*_MEGATRON)
    strategy = call.overrides.get("actor_rollout_ref.actor.strategy")
    if strategy is not None and MEGATRON.search(str(strategy.value)):
        raise RecipeInvalid(*_MEGATRON)
    if any(name.startswith("actor_rollout_ref.actor.megatron.") for name in call.overrides):
        raise RecipeInvalid(*_MEGATRON)


def _shown(value: Value) -> str:
    """A word with its holes as the shell writes them."""
    return "".join(part if isinstance(part, str) else _hole(part) for part in value)


def _hole(hole: Hole) -> str:
    return f"$({hole.text})" if hole.kind == "command" else f"${{{hole.text}}}"
