"""Task files: YAML in lm-eval's format, found under recipes/tasks/ and written into a stage's folder.

They are read without lm-eval. `!function` tags are kept as they are; `include:` is resolved; the
local data file that a recipe names is put in. What a stage ran stands whole in its folder.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from residency.recipe import kind_schema
from residency.recipe.suggest import did_you_mean

FOLDER = Path("recipes") / "tasks"
"""Where the project's own tasks lie, below the project."""


class BadTask(ValueError):
    """A task file that cannot be used: which, and why."""


@dataclass(frozen=True, slots=True)
class Function:
    """A `!function module.name` of a task file."""

    path: str


_KEYS = """
    task task_alias tag custom_dataset dataset_path dataset_name dataset_kwargs training_split
    validation_split test_split fewshot_split process_docs doc_to_text doc_to_target doc_to_image
    doc_to_audio unsafe_code doc_to_choice process_results use_prompt description target_delimiter
    fewshot_delimiter fewshot_config num_fewshot metric_list output_type generation_kwargs repeats
    filter_list should_decontaminate doc_to_decontamination_query gen_prefix metadata class include
"""
KEYS = frozenset(_KEYS.split())
"""What a task file may hold: lm-eval's `TaskConfig`, a task written as a class, `include`."""


class _Loader(yaml.SafeLoader):
    """YAML as lm-eval reads it (version 1.1), with `!function` as a `Function`."""


class _Dumper(yaml.SafeDumper):
    """The way back."""


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Function:
    return Function(str(loader.construct_scalar(node)))


_Loader.add_constructor("!function", _function)
_Dumper.add_representer(
    Function, lambda dumper, value: dumper.represent_scalar("!function", value.path, style="")
)


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One task of the project's own."""

    name: str
    path: Path
    config: Mapping[str, Any]
    """Its keys, `include` resolved; `!function` values are `Function`."""
    files: tuple[Path, ...]
    """Every file that makes it: itself, what it includes, the modules beside it that it calls."""

    @property
    def functions(self) -> tuple[str, ...]:
        """The dotted paths that it calls, without those of modules beside it."""
        found = {f.path for f in _functions(self.config) if module_beside(self.path, f.path) is None}
        return tuple(sorted(found))

    @property
    def split(self) -> str | None:
        """The split that is evaluated."""
        return self.config.get("test_split") or self.config.get("validation_split")

    @property
    def local(self) -> bool:
        """True when its data is a file that a recipe names: it has `custom_dataset`, or its
        `dataset_path` is json, csv or parquet."""
        return isinstance(self.config.get("custom_dataset"), Function) or self.config.get("dataset_path") in (
            "json",
            "csv",
            "parquet",
        )

    @property
    def questions(self) -> bool:
        """True when its rows are read by `residency.engines.lm_eval.questions`."""
        return self.config.get("custom_dataset") == Function("residency.engines.lm_eval.questions.rows")

    @property
    def asked(self) -> bool:
        """True when its rows have gold answers of their own shape (`residency.benchmark.asked`)."""
        return self.config.get("custom_dataset") == Function("residency.benchmark.asked.rows")

    @property
    def styled(self) -> bool:
        """True when its questions are asked in a prompt style."""
        return self.questions or self.asked

    @property
    def labels(self) -> tuple[str, ...]:
        """The allowed answers of a task of questions; none where each row has options of its own."""
        return tuple(str(x) for x in (self.config.get("dataset_kwargs") or {}).get("labels") or ())

    @property
    def choices(self) -> bool:
        """True for a task of questions whose rows have options."""
        return bool((self.config.get("dataset_kwargs") or {}).get("choices"))

    @property
    def prompt(self) -> str | Mapping[str, Any] | None:
        """The prompt style that the task asks in when the recipe names none."""
        found: str | Mapping[str, Any] | None = (self.config.get("dataset_kwargs") or {}).get("prompt")
        return found

    def render(
        self,
        data: Path | None,
        prompt: Mapping[str, Any] | None = None,
        repeats: int | None = None,
    ) -> str:
        """The file as lm-eval is to read it.

        Args:
            data: The data's path, to be put in.
            prompt: The keys of the style, in place of the task's own `prompt`.
            repeats: Answers for each question.
        """
        config = dict(self.config)
        if data is not None:
            config["dataset_kwargs"] = {
                **(config.get("dataset_kwargs") or {}),
                "data_files": {self.split: str(data)},
            }
        if prompt:
            config["dataset_kwargs"] = {**(config.get("dataset_kwargs") or {}), "prompt": dict(prompt)}
            if prompt.get("max_tokens") and config.get("output_type") == "generate_until":
                asked = config.get("generation_kwargs") or {}
                config["generation_kwargs"] = {**asked, "max_gen_toks": prompt["max_tokens"]}
        if repeats and config.get("output_type") == "generate_until":
            config["repeats"] = repeats
        return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def module_beside(task: Path, function: str) -> Path | None:
    """The Python file beside a task file that `function` names (lm-eval looks there first)."""
    found = task.parent / f"{function.rpartition('.')[0].replace('.', '/')}.py"
    return found if found.is_file() else None


def _functions(value: Any) -> Iterator[Function]:
    if isinstance(value, Function):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _functions(item)
    elif isinstance(value, list):
        for item in value:
            yield from _functions(item)


def _read(path: Path, seen: tuple[Path, ...] = ()) -> tuple[dict[str, Any], tuple[Path, ...]]:
    path = path.resolve()
    if path in seen:
        raise BadTask(f"{path}: it includes itself")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise BadTask(f"{path}: there is no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadTask(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise BadTask(f"{path}: a task file is a mapping")
    includes = config.pop("include", [])
    merged: dict[str, Any] = {}
    files: tuple[Path, ...] = (path,)
    for name in includes if isinstance(includes, list) else [includes]:
        inner, more = _read(path.parent / str(name), (*seen, path))
        merged |= inner
        files += more
    return merged | config, files


@functools.lru_cache(maxsize=256)
def _load(path: Path, stamp: tuple[int, int]) -> TaskFile:
    config, files = _read(path)
    name = config.get("task")
    if not isinstance(name, str):
        raise BadTask(f"{path}: it has no `task:` name")
    _check_keys(path, config)
    beside = {module_beside(path, f.path) for f in _functions(config)} - {None}
    return TaskFile(name, path, config, (*files, *sorted(p for p in beside if p is not None)))


def _check_keys(path: Path, config: Mapping[str, Any]) -> None:
    """Raise BadTask for keys that lm-eval does not know, and for a task that asks nothing."""
    wrong = [str(key) for key in config if key not in KEYS]
    if wrong:
        said = [f"`{key}`" + (f" ({hint})" if (hint := did_you_mean(key, KEYS)) else "") for key in wrong]
        raise BadTask(f"{path}: unknown key {', '.join(said)}")
    if not {"doc_to_text", "use_prompt", "class"} & set(config):
        raise BadTask(f"{path}: it has no `doc_to_text`, so that nothing would be asked")


def load(path: Path) -> TaskFile:
    """The task of a file. Raises BadTask when it cannot be read or names no task."""
    try:
        state = path.stat()
    except OSError as error:
        raise BadTask(f"{path}: {error.strerror}") from None
    return _load(path, (state.st_mtime_ns, state.st_size))


def own(project: Path) -> dict[str, Path]:
    """The project's own tasks: name → file. A task's name is its file's."""
    return {path.stem: path for path in sorted((project / FOLDER).glob("*.yaml")) if path.stem[0] != "_"}


def find(project: Path, name: str) -> TaskFile | None:
    """The project's own task of that name, or None. Raises BadTask when its file is wrong."""
    path = own(project).get(name)
    if path is None:
        return None
    task = load(path)
    if task.name != name:
        raise BadTask(f"{path}: its `task:` is {task.name!r}; it must be {name!r}, as the file")
    return task


def shipped(project: Path) -> frozenset[str]:
    """The names of lm-eval's own tasks, groups and tags; empty when their list is not there."""
    schema = kind_schema.engine_file("lm_eval", project / "schemas")
    if schema is None:
        return frozenset()
    try:
        text = schema.with_name(f"{schema.stem}.tasks.txt").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(text.split())
