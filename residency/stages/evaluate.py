"""`kind: evaluate`: a model's answers to local questions or to lm-eval's own tasks, scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.benchmark import asked as gold_answers
from residency.endpoint import check as endpoint_check
from residency.endpoint import settings as endpoint_settings
from residency.engines.base import CheckContext, Engine
from residency.engines.lm_eval import places, prompting, questions, served_stage, taskfiles
from residency.engines.lm_eval.engine import CITATIONS, ENGINE, SERVED
from residency.evaluation import prompts, styles
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_probe import probe
from residency.recipe.model import Recipe
from residency.recipe.nodes import Node, Sequence, Span, at, key_span
from residency.recipe.suggest import closest
from residency.stages import _prompts
from residency.stages.base import Inputs, Output, Rows, StageKind

TRUSTED = ("rewards", "processors", "residency")
"""Packages whose functions a task file may call."""

SCORING = (
    "residency.engines.lm_eval.answers.extract",
    "residency.engines.lm_eval.asking.asked",
    "residency.engines.lm_eval.results.scores",
    "residency.evaluation.prompts.render",
    "residency.stats.wilson",
)
"""What every score depends on beside the task's own functions."""

PROMPTING = ("residency.endpoint.prompt.Tokenizer",)
"""What the prompts depend on that are sent to a server."""

_WRONG = {
    "module": "names no module",
    "name": "is not there",
    "not-callable": "is no function",
    "hang": "takes too long to import",
}
"""What is wrong with a function that a task calls."""

LOOK_BYTES = 16 << 20
"""How much of a data file a check reads; the rest is checked when the stage starts."""


class Evaluate(StageKind):
    """Questions in, scores with their intervals out."""

    name = "evaluate"

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """lm-eval, in process or asking a server."""
        return SERVED if config.get("endpoint") else ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`results`: scores; `samples`: what was asked and answered, row by row."""
        return {
            "results": Output("results.json", "results"),
            "samples": Output("samples.jsonl", "samples"),
        }

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The model and adapter where they lie on this machine, the questions, the task files."""
        starts = places.roots(recipe_folder, project)
        named = [config.get("model"), config.get("adapter"), *places.data_files(config).values()]
        citing = places.citations(config, starts)
        if citing and citing["exists"] != places.PUBMED:
            named.append(citing["exists"])
        given = [str(value) for value in named if value and not places.is_token(value)]
        found = [path for value in given if (path := places.find(value, starts))]
        functions = {
            *SCORING,
            *(PROMPTING if config.get("endpoint") else ()),
            *([CITATIONS] if citing else ()),
        }
        for name in places.task_names(config):
            try:
                task = taskfiles.find(project, name)
            except taskfiles.BadTask:  # `check` says so
                continue
            if task:
                found += task.files
                functions.update(task.functions)
                if task.styled:
                    found += prompting.files(config, task, starts, project)
                if task.questions:
                    functions.update(prompting.readings(config, task, starts, project))
        return Inputs(
            files=tuple(dict.fromkeys(found)),
            functions=tuple(sorted(functions)),
            ignore=(
                "lm_eval.verbosity",
                "lm_eval.write_out",
                *(f"endpoint.{key}" for key in endpoint_settings.HOW_FAST),
            ),
        )

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Tasks that exist, a readable data file for each that needs one, a model, a limit."""
        starts = places.roots(recipe.folder, context.project)
        endpoint_check.check(recipe, found)
        for key in ("model", "adapter"):
            _check_model(recipe, key, starts, found)
        tasks = _check_tasks(recipe, context, found)
        _check_likelihoods(recipe, tasks, found)
        asked = _prompts.check(recipe, tasks, context, starts, found)
        _check_data(recipe, tasks, asked, starts, found)
        _check_limit(recipe, found)
        _check_citations(recipe, starts, found)
        if not any(style.chat is not None for style in asked.values()):
            _check_template(recipe, starts, found)

    def rows(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Rows:
        """The questions of each task that lie in a file; a task may bring its own."""
        starts = places.roots(recipe_folder, project)
        given = places.data_files(config)
        found = {
            task: (path if places.is_token(path) else str(places.place(path, starts)),)
            for task, path in given.items()
        }
        own = [task for task in places.task_names(config) if task not in given]
        return Rows(
            evaluation=found,
            elsewhere=tuple(f"the task {task}, which brings its own questions" for task in own),
        )


def _check_model(recipe: Recipe, key: str, starts: tuple[Path, ...], found: Diagnostics) -> None:
    node = recipe.tree.get(key)
    value = getattr(node, "value", None)
    if node is None or not isinstance(value, str) or not value or places.is_token(value):
        return
    path = places.find(value, starts)
    needed = "config.json" if key == "model" else "adapter_config.json"
    if path is None and places.is_path(value):
        found.add(
            "model-missing",
            f"there is no folder {places.place(value, starts)}",
            node,
            hint="a name on the hub is `owner/name`",
        )
    elif path is not None and not (path / needed).is_file():
        found.add("model-missing", f"{path} holds no {needed}", node, hint=_inside(path, needed))


def _inside(path: Path, needed: str) -> str | None:
    below = sorted(path.glob(f"*/{needed}"))
    return f"did you mean {below[-1].parent}?" if below else None


def _check_tasks(recipe: Recipe, context: CheckContext, found: Diagnostics) -> dict[str, taskfiles.TaskFile]:
    """The project's own tasks among those named."""
    own = taskfiles.own(context.project)
    tasks: dict[str, taskfiles.TaskFile] = {}
    called: list[tuple[str, str, Node | Span]] = []
    for name in places.task_names(recipe.config):
        where = _item(recipe, "tasks", name)
        if places.is_token(name):
            continue
        if name not in own:
            known = taskfiles.shipped(context.project)
            if known and name not in known:
                close = closest(name, [*own, *sorted(known)])
                hint = f"did you mean `{close[0]}`?" if close else f"this project's are {', '.join(own)}"
                found.add("unknown-task", f"there is no task `{name}`", where, hint=hint)
            continue
        try:
            task = taskfiles.find(context.project, name)
        except taskfiles.BadTask as error:
            found.add("bad-task-file", str(error), where)
            continue
        assert task is not None
        tasks[name] = task
        for function in task.functions:
            package = function.partition(".")[0]
            if package in (*TRUSTED, *context.trust):
                called.append((name, function, where))
            else:
                found.add(
                    "untrusted",
                    f"the task {name} calls {function}",
                    where,
                    hint=f"if you trust it, add `--trust {package}` to the command line",
                )
    answers = probe([function for _, function, _ in called], context.project) if called else {}
    for name, function, where in called:
        if "error" in (answer := answers[function]):
            found.add(
                "bad-task-file",
                f"the task `{name}` calls `{function}`, which "
                + (_WRONG.get(answer["error"]) or f"cannot be imported: {answer.get('message', '')}"),
                where,
                hint=f"the task's file is {own[name]}",
            )
    return tasks


def _check_likelihoods(recipe: Recipe, tasks: Mapping[str, taskfiles.TaskFile], found: Diagnostics) -> None:
    """A task that weighs its choices needs /completions."""
    over = endpoint_settings.endpoint(recipe.config)
    if over is None or places.is_token(over.api):
        return
    if served_stage.by_tokens(over, str(recipe.config.get("model") or "") or None):
        return
    for name, task in tasks.items():
        if task.config.get("output_type") not in (None, "generate_until"):
            found.add(
                "conflicting-keys",
                f"the task {name} weighs its choices by their likelihood, which no chat interface gives",
                _item(recipe, "tasks", name),
                hint="name the served checkpoint under `model:` and leave `api` out, "
                "or choose a task that is answered by generation",
            )


def _item(recipe: Recipe, key: str, value: str) -> Node | Span:
    """Where `value` stands in the list under `key`."""
    node = recipe.tree.get(key)
    if isinstance(node, Sequence):
        return next((i for i in node.items if str(getattr(i, "value", "")).strip() == value), node)
    return node or recipe.tree


def _check_data(
    recipe: Recipe,
    tasks: Mapping[str, taskfiles.TaskFile],
    asked: Mapping[str, styles.Style],
    starts: tuple[Path, ...],
    found: Diagnostics,
) -> None:
    data = places.data_files(recipe.config)
    names = places.task_names(recipe.config)
    own = taskfiles.own(starts[1])
    for name, task in tasks.items():
        if name not in data and task.local and task.styled:
            found.add(
                "missing-task-data",
                f"the task {name} needs a data file",
                _item(recipe, "tasks", name),
                hint=f"add `data: {{{name}: PATH}}`",
            )
    for name, given in data.items():
        node = at(recipe.tree, ("data", name)) or recipe.tree
        key = key_span(recipe.tree, ("data", name)) or node
        if name not in names:
            close = closest(name, names)
            if close and close[0] not in tasks and name in closest(close[0], own):
                continue  # `tasks:` misspells it, which has been said
            hint = f"did you mean `{close[0]}`?" if close else f"add {name} to `tasks:`"
            found.add(
                "unknown-task", f"data is given for `{name}`, which is not among the tasks", key, hint=hint
            )
        elif name not in tasks or not tasks[name].local:
            if name in own:
                continue  # its file is wrong, which has been said
            found.add(
                "unused-data",
                f"the task {name} brings its own data",
                key,
                hint="leave it out, or write a task for it under recipes/tasks/",
            )
        elif not places.is_token(given):
            path = places.find(given, starts)
            if path is None or not path.is_file():
                found.add("missing-file", f"there is no file {places.place(given, starts)}", node)
            elif tasks[name].styled:
                _check_rows(path, tasks[name], asked.get(name), node, found)


def _check_rows(
    path: Path, task: taskfiles.TaskFile, style: styles.Style | None, node: Node, found: Diagnostics
) -> None:
    """Look at the rows: the first that are wrong, how many ask what another asked already."""
    bad: list[str] = []
    asked: dict[str, int] = {}
    ids: dict[str, int] = {}
    rows = looked = twice = same_id = 0
    try:
        for number, row in questions.read(path):
            rows += 1
            try:
                name, text = _asked(row, task, style, number)
            except questions.BadRow as error:
                bad.append(f"row {number}: {error}")
                continue
            twice += asked.setdefault(text, number) != number
            same_id += ids.setdefault(name, number) != number
            looked += len(text)
            if looked > LOOK_BYTES:
                break
    except (questions.BadRow, OSError, UnicodeDecodeError) as error:
        bad.append(str(error))
    if bad:
        more = f"; and {len(bad) - 1} more" if len(bad) > 1 else ""
        found.add("bad-data-row", f"{path.name}: {bad[0]}{more}", node, hint=_columns(task))
    elif not rows:
        found.add("bad-data-row", f"{path} holds no rows", node)
    if twice:
        found.add(
            "duplicate-questions",
            f"{path.name}: {twice} of {rows} questions are asked more than once",
            node,
            hint="they count more than once; the interval is then too narrow",
            severity="warning",
        )
    elif same_id:
        found.add(
            "duplicate-questions",
            f"{path.name}: {same_id} of {rows} rows have the id of another",
            node,
            severity="warning",
        )


def _asked(row: Any, task: taskfiles.TaskFile, style: styles.Style | None, number: int) -> tuple[str, str]:
    """A row's id, and all that is asked."""
    item = gold_answers.item(row, number) if task.asked else questions.item(row, task.labels, number)
    return item["id"], prompts.text(prompts.render(item, style or styles.Style()).messages)


def _columns(task: taskfiles.TaskFile) -> str:
    if task.asked:
        return "columns: " + ", ".join(gold_answers.COLUMNS)
    return "columns: instruction, output" if task.labels else "columns: id, question, options, label"


def _check_limit(recipe: Recipe, found: Diagnostics) -> None:
    """What the schema of lm-eval's arguments lets pass: lm-eval would cut 2.5 down to 2."""
    node = at(recipe.tree, ("lm_eval", "limit"))
    value = getattr(node, "value", None)
    if node is not None and isinstance(value, float) and value > 1 and value != int(value):
        found.add(
            "out-of-range",
            f"limit is {value}",
            node,
            hint="a number of questions from 1, or a share between 0 and 1; leave it out for all",
        )


def _check_citations(recipe: Recipe, starts: tuple[Path, ...], found: Diagnostics) -> None:
    """What says which PMIDs exist is there."""
    citing = places.citations(recipe.config, starts)
    where = citing["exists"] if citing else None
    if where and where != places.PUBMED and not places.is_token(where) and not Path(where).exists():
        found.add(
            "missing-file",
            f"there is no file or folder {where}",
            recipe.tree.get("citations") or recipe.tree,
            hint="a corpus, an index of the study search, a file of PMIDs, or `pubmed`; `true` without one",
        )


def _check_template(recipe: Recipe, starts: tuple[Path, ...], found: Diagnostics) -> None:
    """An instruction-tuned model asked without its chat template scores far too low."""
    block = places.block(recipe.config)
    model = str(recipe.config.get("model") or "")
    path = None if places.is_token(model) else places.find(model, starts)
    if "apply_chat_template" in block or path is None or not path.is_dir():
        return
    settings = path / "tokenizer_config.json"
    inside = settings.is_file() and '"chat_template"' in settings.read_text(encoding="utf-8")
    if inside or (path / "chat_template.jinja").is_file():
        found.add(
            "no-chat-template",
            "the model has a chat template, and it is asked without one",
            key_span(recipe.tree, ("lm_eval",)) or key_span(recipe.tree, ("model",)) or recipe.tree,
            hint="add `lm_eval: {apply_chat_template: true}`, or false if that is meant",
            severity="warning",
        )


KIND = Evaluate()
