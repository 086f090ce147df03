"""The stable code of every diagnostic, what it means, and an example.

Each code that a check reports is listed here. `python -m residency.recipe.codes` writes
docs/diagnostics.md from this list.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "ambiguous": "A value fits several forms, and each of them is broken.",
    "bad-arguments": "Arguments do not fit the function that the recipe names.",
    "bad-data": "A data file cannot be read, or holds no rows.",
    "bad-data-row": "A row of a task's data lacks what the task asks for.",
    "bad-deepspeed": "A DeepSpeed configuration cannot work as it is written.",
    "bad-dotted-path": "A dotted path leads to nothing that can be called.",
    "bad-extends": "`extends` names no file that can be read.",
    "bad-interpolation": "A `${…}` breaks the grammar, or calls a resolver wrongly.",
    "bad-json": "A JSON file cannot be read.",
    "bad-key": "A key is no text, or no name that can stand there.",
    "bad-limit": "A limit is no count and no fraction.",
    "bad-merge-key": "`<<` is given something else than mappings.",
    "bad-override": "A `--set` cannot be read or applied.",
    "bad-profile": "A profile is no mapping, or holds a key that no profile can.",
    "bad-split": "A split cannot be made.",
    "bad-task-file": "A task's YAML cannot be used.",
    "bad-value": "A value is none that the engine takes.",
    "circular-datasets": "Datasets are made from each other.",
    "circular-extends": "Recipes extend one another in a circle.",
    "circular-interpolation": "Interpolations lead back to themselves, or in too long a chain.",
    "circular-stages": "Stages need one another in a circle.",
    "column-missing": "A data file lacks a column that is asked for.",
    "conflicting-keys": "Two keys contradict each other.",
    "data-file-missing": "A data file is not there.",
    "deprecated": "A key has been replaced by another.",
    "duplicate-key": "A key is written twice in one mapping.",
    "duplicate-output": "Two outputs of a stage would bear one name.",
    "duplicate-questions": "A task asks the same question more than once.",
    "empty-value": "A value must not be empty.",
    "literal-interpolation": "A plain LLaMA-Factory YAML holds `${…}`, which stays text.",
    "missing-file": "A file is not there, or cannot be read.",
    "missing-key": "A key that must be there is not.",
    "missing-kind": "The recipe does not say its kind.",
    "missing-param": "A parameter has no value and no default.",
    "missing-task-data": "A task needs a data file, and none is given.",
    "no-chat-template": "A chat model is asked without its chat template.",
    "no-stages": "`${stages…}` or `${loop…}` stands outside a pipeline.",
    "not-a-choice": "A value is none of those that may stand there.",
    "out-of-range": "A number is outside its range.",
    "reserved-character": "A text holds one of the brackets ⟦ ⟧, which the launcher keeps for itself.",
    "reserved-key": "A key is set by the launcher and cannot be given.",
    "secret-outside-env": "A secret stands elsewhere than under `env:`.",
    "too-few": "A list or mapping has too few entries.",
    "too-long": "A text is too long.",
    "too-many": "A list or mapping has too many entries.",
    "too-many-values": "Interpolations bring in values without bound.",
    "trains-nothing": "A training stage would train nothing.",
    "undefined-interpolation": "A `${…}` names nothing that is defined.",
    "unknown-dataset": "A dataset is not in the registry.",
    "unknown-key": "A key is not known where it stands.",
    "unknown-kind": "There is no such kind of recipe.",
    "unknown-output": "A stage leaves no output of that name.",
    "unknown-param": "A value is given to a parameter that is not declared.",
    "unknown-profile": "Nothing declares the profile.",
    "unknown-service": "`${services…}` names no service that is declared.",
    "unknown-source": "A dataset is made from something that is not there.",
    "unknown-stage": "There is no stage of that name.",
    "unknown-task": "There is no evaluation task of that name.",
    "untrusted": "A dotted path leads into code that is not trusted.",
    "untrusted-code": "A setting would run code that comes with a model or a task.",
    "unused-data": "Data is given to a task that brings its own.",
    "unusual-value": "A value is allowed but seldom right.",
    "wrong-form": "A text does not have the form that it must have.",
    "wrong-tags": "Data in sharegpt format bears other tags than those declared.",
    "wrong-type": "A value is of another type than it must be.",
    "yaml-alias": "An alias names no anchor, or stands inside what it repeats.",
    "yaml-documents": "A file holds several documents.",
    "yaml-empty": "A file holds nothing.",
    "yaml-encoding": "A file is not UTF-8.",
    "yaml-not-mapping": "A file holds a list or a single value.",
    "yaml-syntax": "A text is not YAML.",
    "yaml-tab": "A tab stands where only spaces may.",
    "yaml-tag": "A YAML tag is used.",
    "yaml-too-deep": "Values are nested too deep.",
    "yaml-too-large": "A file is too large for a recipe.",
    "yaml-too-many-values": "A file holds too many values, its aliases expanded.",
}
"""Code → what is wrong, in one sentence."""

EXAMPLES: dict[str, str] = {
    "ambiguous": "`split: {train: 0.8, test: x}`",
    "bad-arguments": "`args: {wrods: 120}`",
    "bad-data": "a JSONL file with a broken line",
    "bad-data-row": "a question without an answer",
    "bad-deepspeed": "`stage: 5`",
    "bad-dotted-path": "`fn: processors.pubmed.raed`",
    "bad-extends": "`extends: bsae.yaml`",
    "bad-interpolation": "`${params.model`",
    "bad-json": '`{"a": 1,}`',
    "bad-key": "`? [a, b]`",
    "bad-limit": "`limit: -3`",
    "bad-merge-key": "`<<: text`",
    "bad-override": "`--set max_steps`",
    "bad-profile": "`profiles: {smoke: [1]}`",
    "bad-split": "`split: {train: 0.8, test: 0.4}`",
    "bad-task-file": "a task without `doc_to_text`",
    "bad-value": "`batch_size: many`",
    "circular-datasets": "`a: {from: b}` and `b: {from: a}`",
    "circular-extends": "`a.yaml` extends `b.yaml`, which extends `a.yaml`",
    "circular-interpolation": "`name: ${description}` and `description: ${name}`",
    "circular-stages": "`a` uses an output of `b`, and `b` one of `a`",
    "column-missing": "`columns: {prompt: qestion}`",
    "conflicting-keys": "`bf16: true` and `fp16: true`",
    "data-file-missing": "`data: {pubmedqa: rows.json}`",
    "deprecated": "`${oc.deprecated:new_key}`",
    "duplicate-key": "`name: a` and again `name: b`",
    "duplicate-output": "a source and a dataset named `pubmed`",
    "duplicate-questions": "two rows with one id",
    "empty-value": '`name: ""`',
    "literal-interpolation": "`output_dir: ${HOME}/x` without `kind:`",
    "missing-file": "`recipe: stf.yaml`",
    "missing-key": "`kind: export` without `model`",
    "missing-kind": "a file without `kind:`",
    "missing-param": "`params: {model: {type: string}}`",
    "missing-task-data": "`tasks: [study_questions]` without `data:`",
    "no-chat-template": "`apply_chat_template: false`",
    "no-stages": "`${stages.sft.outputs.model}` in `kind: export`",
    "not-a-choice": "`finetuning_type: loar`",
    "out-of-range": "`per_device_train_batch_size: 0`",
    "reserved-character": "`name: ⟦x⟧`",
    "reserved-key": "`lm_eval: {output_path: x}`",
    "secret-outside-env": "`model: ${secret:HF_TOKEN}`",
    "too-few": "`tasks: []`",
    "too-long": "a name of 300 characters",
    "too-many": "three entries where two may stand",
    "too-many-values": "mappings that repeat each other tenfold",
    "trains-nothing": "`do_train: false`",
    "undefined-interpolation": "`${params.modle}`",
    "unknown-dataset": "`dataset: alpaca_en_dmeo`",
    "unknown-key": "`learning_rte: 1e-4`",
    "unknown-kind": "`kind: stf`",
    "unknown-output": "`${stages.data.outputs.trian}`",
    "unknown-param": "`--set params.modle=x`",
    "unknown-profile": "`--profile smok`",
    "unknown-service": "`${services.retreiver.url}`",
    "unknown-source": "`from: pubmde`",
    "unknown-stage": "`${stages.stf.outputs.model}`",
    "unknown-task": "`tasks: [pubmdqa]`",
    "untrusted": "`fn: os.system` without `--trust os`",
    "untrusted-code": "`trust_remote_code: true`",
    "unused-data": "`data: {hellaswag: x.json}`",
    "unusual-value": "`learning_rate: 1.0`",
    "wrong-form": "`sha256: abc`",
    "wrong-tags": "`role_tag: role` for rows with `from`",
    "wrong-type": "`max_steps: many`",
    "yaml-alias": "`model: *base`",
    "yaml-documents": "a second `---`",
    "yaml-empty": "comments alone",
    "yaml-encoding": "a file saved as UTF-16",
    "yaml-not-mapping": "`- kind: sft`",
    "yaml-syntax": '`name: "never closed`',
    "yaml-tab": "a line indented by a tab",
    "yaml-tag": "`!!python/object:os.system`",
    "yaml-too-deep": "65 lists in one another",
    "yaml-too-large": "6 MB of data",
    "yaml-too-many-values": "a list of lists of aliases",
}
"""Code → something that brings it about."""

_HEAD = """# Diagnostics

`launch.py check` reports every mistake with a code. A code keeps its meaning from version to
version; messages may change. An error must be mended before anything runs; a warning (those
marked in `--format json` by `"severity": "warning"`) need not be.

This file is written by `python -m residency.recipe.codes > docs/diagnostics.md`.

| Code | What is wrong | For example |
|---|---|---|
"""


def table() -> str:
    """The text of docs/diagnostics.md."""
    rows = (f"| `{code}` | {CODES[code]} | {EXAMPLES[code]} |" for code in sorted(CODES))
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
