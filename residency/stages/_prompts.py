"""What a check says of an `evaluate` recipe's `prompt:`: style, templates, examples, readings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.benchmark import asked as gold_answers
from residency.engines.base import CheckContext
from residency.engines.lm_eval import places, prompting, questions, taskfiles
from residency.evaluation import styles
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted import TRUSTED
from residency.recipe.dotted_probe import Answer, probe
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Span, at, key_span

LOOK_ROWS = 200
"""How many of the examples a check reads."""


def check(
    recipe: Recipe,
    tasks: Mapping[str, taskfiles.TaskFile],
    context: CheckContext,
    starts: tuple[Path, ...],
    found: Diagnostics,
) -> dict[str, styles.Style]:
    """Report what is wrong with the way of asking; task → its style, for those that have a sound one."""
    ours = {name: task for name, task in tasks.items() if task.styled}
    sound: dict[str, styles.Style] = {}
    said: set[tuple[str, str]] = set()
    for name, task in ours.items():
        style = _style(recipe, name, task, starts, context.project, found, said)
        if style is not None:
            if not (task.asked and styles.of_options(style)):
                sound[name] = style
            _check_task(recipe, name, task, style, found)
            _check_examples(recipe, task, style, starts, found, said)
    _check_others(recipe, tasks, context.project, found)
    readers = {name: task for name, task in ours.items() if task.questions}
    _check_readings(recipe, readers, starts, context, found)
    _check_samples(recipe, found)
    return sound


def _where(recipe: Recipe, key: str = "") -> Node | Span:
    """Where a key of the prompt stands in the recipe; else the prompt, else the tasks."""
    node = recipe.tree.get("prompt")
    inside = at(recipe.tree, ("prompt", key)) if key and isinstance(node, Tree) else None
    named = at(recipe.tree, ("prompt", "style")) if isinstance(node, Tree) else None
    return inside or named or node or recipe.tree.get("tasks") or recipe.tree


def _style(
    recipe: Recipe,
    name: str,
    task: taskfiles.TaskFile,
    starts: tuple[Path, ...],
    project: Path,
    found: Diagnostics,
    said: set[tuple[str, str]],
) -> styles.Style | None:
    given = recipe.config.get("prompt")
    inline = set(given) - {"style"} if isinstance(given, Mapping) else set()
    if places.is_token(given) or (isinstance(given, Mapping) and places.is_token(given.get("style"))):
        return None
    try:
        keys = prompting.keys(recipe.config, task, starts, project)
    except styles.BadStyle as error:
        code = "unknown-prompt" if error.problems[0][0] == "style" else "bad-prompt"
        _say(found, said, code, str(error), _where(recipe), error.problems[0][2])
        return None
    broken = False
    for key, text, hint in styles.key_problems(keys):
        broken = True
        if key in inline and key not in styles.TEMPLATES:
            continue  # the schema has said so
        source = "" if key in inline else f"the style of {name}: "
        _say(found, said, "bad-prompt", f"{source}{key}: {text}", _where(recipe, key), hint)
    if broken:
        return None
    for key, text, hint in styles.joint_problems(keys):
        broken = True
        _say(found, said, "bad-prompt", f"{key}: {text}", _where(recipe, key), hint)
    if broken:
        return None
    return gold_answers.in_style(keys) if task.asked else styles.style(keys)


def _say(
    found: Diagnostics,
    said: set[tuple[str, str]],
    code: str,
    text: str,
    where: Node | Span,
    hint: str | None,
) -> None:
    """Once, though several tasks share the style."""
    if (code, text) not in said:
        said.add((code, text))
        found.add(code, text, where, hint=hint)


def _check_task(
    recipe: Recipe, name: str, task: taskfiles.TaskFile, style: styles.Style, found: Diagnostics
) -> None:
    """What fits no task of this sort."""
    block = places.block(recipe.config)
    if style.then is not None and task.config.get("output_type") != "generate_until":
        found.add(
            "bad-prompt",
            f"the style makes a second request after the answer, and {name} generates no answer",
            _where(recipe, "then"),
        )
    if task.asked:
        _check_own_form(recipe, name, style, found)
    asked = block.get("apply_chat_template")
    if style.chat is not None and asked is not None and bool(asked) != style.chat:
        found.add(
            "conflicting-keys",
            f"the style says `chat: {str(style.chat).lower()}`, and lm_eval.apply_chat_template is {asked}",
            key_span(recipe.tree, ("lm_eval", "apply_chat_template")) or recipe.tree,
            hint="keep one of the two",
        )
    if block.get("num_fewshot"):
        found.add(
            "conflicting-keys",
            f"lm_eval.num_fewshot would draw examples from the questions of {name} themselves",
            key_span(recipe.tree, ("lm_eval", "num_fewshot")) or recipe.tree,
            hint="use `prompt: {style: few_shot, shots: 3, examples: FILE}`",
        )


def _check_own_form(recipe: Recipe, name: str, style: styles.Style, found: Diagnostics) -> None:
    """What fits no task whose answers have a form of their own."""
    if lost := sorted(styles.of_options(style)):
        found.add(
            "bad-prompt",
            f"the style names {{{lost[0]}}}, and the questions of {name} have no options",
            _where(recipe, "question"),
            hint="`style: examples` and `style: reasoning` ask as the rows do",
        )
    for key in prompting.READINGS:
        if getattr(style, key):
            found.add(
                "bad-prompt",
                f"{key}: the task {name} reads its answers itself",
                _where(recipe, key),
                hint="leave it out",
            )


def _check_examples(
    recipe: Recipe,
    task: taskfiles.TaskFile,
    style: styles.Style,
    starts: tuple[Path, ...],
    found: Diagnostics,
    said: set[tuple[str, str]],
) -> None:
    """The file of examples is there, is not the test, and has rows of the task's form."""
    given = style.examples
    if not style.shots or given is None or places.is_token(given):
        return
    where, path = _where(recipe, "examples"), Path(given)
    test = places.data_files(recipe.config).get(task.name)
    if not path.is_file():
        _say(found, said, "missing-file", f"there is no file {path}", where, None)
        return
    if test and not places.is_token(test) and places.place(test, starts).resolve() == path.resolve():
        text = f"the examples are drawn from {path.name}, the test itself"
        _say(found, said, "bad-prompt", text, where, "name a file of training questions")
        return
    rows = 0
    try:
        for number, row in questions.read(path):
            rows += 1
            if rows > LOOK_ROWS:
                continue
            if task.asked:
                gold_answers.item(row, number)
            else:
                questions.item(row, task.labels, number)
    except (questions.BadRow, OSError, UnicodeDecodeError) as error:
        _say(found, said, "bad-data-row", f"{path.name}: row {rows}: {error}", where, None)
        return
    if rows < style.shots:
        text = f"{style.shots} examples are asked for, and {path.name} has {rows} rows"
        _say(found, said, "bad-prompt", text, _where(recipe, "shots"), None)


def _check_others(
    recipe: Recipe, tasks: Mapping[str, taskfiles.TaskFile], project: Path, found: Diagnostics
) -> None:
    """Tasks that a style cannot change."""
    ours = [name for name, task in tasks.items() if task.styled]
    own = taskfiles.own(project)
    others = [
        name
        for name in places.task_names(recipe.config)
        if name not in ours and (name in tasks or (name not in own and name in taskfiles.shipped(project)))
    ]
    if others and ours and recipe.config.get("prompt") is not None:
        found.add(
            "bad-prompt",
            f"{', '.join(others)} asks in its own way, which `prompt:` does not change",
            _where(recipe),
            hint="put it into a stage of its own",
        )
    if others and not ours:
        for key in ("prompt", "samples"):
            if recipe.config.get(key) is not None:
                found.add(
                    "bad-prompt",
                    f"`{key}:` is for this project's tasks, and {', '.join(others)} asks in its own way",
                    key_span(recipe.tree, (key,)) or recipe.tree,
                    hint="leave it out; lm-eval's own keys go under `lm_eval:`",
                )


def _check_readings(
    recipe: Recipe,
    ours: Mapping[str, taskfiles.TaskFile],
    starts: tuple[Path, ...],
    context: CheckContext,
    found: Diagnostics,
) -> None:
    """Functions that tasks and styles name; those in the recipe itself are checked with its schema."""
    given = recipe.config.get("prompt")
    inline = set(given.values()) if isinstance(given, Mapping) and _plain(given) else set()
    paths = {
        path: name
        for name, task in ours.items()
        for path in prompting.readings(recipe.config, task, starts, context.project)
        if path not in inline
    }
    trusted = {path for path in paths if path.partition(".")[0] in (*TRUSTED, *context.trust)}
    for path in sorted(set(paths) - trusted):
        package = path.partition(".")[0]
        found.add(
            "untrusted",
            f"the answers to {paths[path]} are read by {path}",
            _where(recipe),
            hint=f"if you trust it, add `--trust {package}` to the command line",
        )
    answers = probe(sorted(trusted), context.project) if trusted else {}
    for path in sorted(trusted):
        problem = _wrong(answers[path])
        if problem:
            found.add(
                "bad-prompt",
                f"the answers to {paths[path]} are read by `{path}`, which {problem}",
                _where(recipe),
            )


def _plain(given: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str | int | float | bool | None) for value in given.values())


_WRONG = {
    "module": "names no module",
    "name": "is not there",
    "not-callable": "is no function",
    "hang": "takes too long to import",
}


def _wrong(answer: Answer) -> str | None:
    """What is wrong with a function that reads answers."""
    if "error" in answer:
        return _WRONG.get(answer["error"]) or f"cannot be imported: {answer.get('message', '')}"
    parameters = answer.get("parameters")
    if parameters is None:
        return None
    positional = [p for p in parameters if p[1] in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    needed = [p for p in parameters if not p[2] and p[1] in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    needed_by_name = [p for p in parameters if not p[2] and p[1] == "KEYWORD_ONLY"]
    enough = len(positional) >= 2 or any(p[1] == "VAR_POSITIONAL" for p in parameters)
    if not enough or len(needed) > 2 or needed_by_name:
        return "cannot be called with an answer and a row"
    return None


def _check_samples(recipe: Recipe, found: Diagnostics) -> None:
    """Several answers to a question are all the same without a temperature."""
    samples = recipe.config.get("samples")
    if not isinstance(samples, int) or samples < 2:
        return
    from residency.engines.lm_eval.arguments import mapping

    given = mapping(places.block(recipe.config).get("gen_kwargs"))
    if not float(given.get("temperature") or 0) > 0:
        found.add(
            "conflicting-keys",
            f"{samples} answers to each question are asked for, and all would be the same",
            key_span(recipe.tree, ("samples",)) or recipe.tree,
            hint="add `lm_eval: {gen_kwargs: {do_sample: true, temperature: 0.7}}`",
        )
