"""What the checker says: the code, the place, the hint."""

from __future__ import annotations

import pytest

from residency.recipe import kind_schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Mapping, Scalar, Span, from_plain
from residency.recipe.schema import validate

HEAD = "kind: sft\nllamafactory:\n  model_name_or_path: org/model\n"

# (text after HEAD, code, line, column, part of the message or hint)
LLAMAFACTORY = [
    ("  learning_rte: 1e-4\n", "unknown-key", 4, 3, "did you mean `learning_rate`?"),
    ("  plot_loss: maybe\n", "wrong-type", 4, 14, "plot_loss: true"),
    ("  bf16: yes\n", "wrong-type", 4, 9, "write `bf16: true`"),
    ("  fp16: off\n", "wrong-type", 4, 9, "write `fp16: false`"),
    ("  do_train: 1\n", "wrong-type", 4, 13, "write `do_train: true`"),
    (
        "  learning_rate: '1e-6'\n",
        "wrong-type",
        4,
        18,
        "the quotes make it text; write `learning_rate: 1e-06`",
    ),
    ("  learning_rate: 10^-5\n", "wrong-type", 4, 18, "write `learning_rate: 1e-05`"),
    ("  learning_rate: 1/1000\n", "wrong-type", 4, 18, "write `learning_rate: 0.001`"),
    ("  cutoff_len: 4k\n", "wrong-type", 4, 15, "write `cutoff_len: 4000`"),
    ("  max_samples: 1,000\n", "wrong-type", 4, 16, "write `max_samples: 1000`"),
    ("  warmup_ratio: 10%\n", "wrong-type", 4, 17, "write `warmup_ratio: 0.1`"),
    ("  lora_rank: 8.0\n", "wrong-type", 4, 14, "write `lora_rank: 8`"),
    ("  lora_rank: 8.5\n", "wrong-type", 4, 14, "whole number"),
    ("  run_name: 17\n", "wrong-type", 4, 13, 'run_name: "17"'),
    ("  seed: [7]\n", "wrong-type", 4, 9, "write it without the list: `seed: 7`"),
    ("  seed: {a: 7}\n", "wrong-type", 4, 3, "not a block of keys"),
    ("  seed:\n", "wrong-type", 4, 3, "give a value, or leave the key out"),
    ("  save_total_limit: none\n", "wrong-type", 4, 21, "save_total_limit: null"),
    ("  lora_target: [q_proj, 3]\n", "wrong-type", 4, 25, '"3"'),
    ("  include_for_metrics: inputs\n", "wrong-type", 4, 24, "[inputs]"),
    ("  template: lama3\n", "unknown-template", 4, 13, "did you mean `llama3`?"),
    ("  template: llama3.1\n", "unknown-template", 4, 13, "did you mean `llama3`?"),
    ("  optim: adamw\n", "not-a-choice", 4, 10, "adamw_torch"),
    ("  stage: sfft\n", "not-a-choice", 4, 10, "did you mean `sft`?"),
    ("  finetuning_type: qlora\n", "not-a-choice", 4, 20, "did you mean `lora`?"),
    ("  lr_scheduler_type: cosin\n", "not-a-choice", 4, 22, "did you mean `cosine`?"),
    ("  eval_strategy: step\n", "not-a-choice", 4, 18, "did you mean `steps`?"),
    ("  quantization_bit: 16\n", "out-of-range", 4, 21, "at most 8"),
    ("  ref_model_quantization_bit: 5\n", "not-a-choice", 4, 31, "4, 8"),
    ("  per_device_train_batch_size: 0\n", "out-of-range", 4, 32, "at least 1"),
    ("  gradient_accumulation_steps: -1\n", "out-of-range", 4, 32, "at least 1"),
    ("  learning_rate: 2e5\n", "out-of-range", 4, 18, "at most 1"),
    ("  learning_rate: 0.05\n", "unusual-value", 4, 18, "unusually high"),
    ("  lora_dropout: 1\n", "out-of-range", 4, 17, "less than 1"),
    ("  lora_rank: 1024\n", "unusual-value", 4, 14, "between 1 and 512"),
    ("  top_p: 0\n", "out-of-range", 4, 10, "more than 0"),
    ("  num_train_epochs: 300\n", "unusual-value", 4, 21, "unusually high"),
    ("  evaluation_strategy: steps\n", "unknown-key", 4, 3, "it is called `eval_strategy` now"),
    ("  use_flash_attn: true\n", "unknown-key", 4, 3, "`flash_attn`"),
    (
        "  include_inputs_for_metrics: true\n",
        "unknown-key",
        4,
        3,
        "use `include_for_metrics: [inputs]` instead",
    ),
    ("  resources: {gpus: 4}\n", "unknown-key", 4, 3, "one level up, at the top of the recipe"),
    ("  dataset: []\n", "too-few", 4, 3, "is empty"),
]

RECIPE = [
    ("kind: sft\nllamafactory:\n", "sft", "wrong-type", 2, 1, "nothing under it"),
    ("kind: sft\nname: a\n", "sft", "missing-key", 1, 1, "add `llamafactory: …`"),
    (
        "kind: sft\nllamafactory: {stage: sft}\n",
        "sft",
        "missing-key",
        2,
        1,
        "llamafactory.model_name_or_path",
    ),
    (HEAD + "learning_rate: 1e-5\n", "sft", "unknown-key", 4, 1, "one level down, under `llamafactory:`"),
    (HEAD + "datset: x\n", "sft", "unknown-key", 4, 1, "did you mean `dataset`?"),
    (HEAD + "name: a b\n", "sft", "wrong-form", 4, 7, "a name holds letters"),
    (HEAD + "resources: {gpu: 1}\n", "sft", "unknown-key", 4, 13, "did you mean `gpus`?"),
    (HEAD + "resources: {gpus: -1}\n", "sft", "out-of-range", 4, 19, "at least 0"),
    (HEAD + "env: {A-B: x}\n", "sft", "bad-key", 4, 7, "a variable's name"),
    (HEAD + "env: {A: [x]}\n", "sft", "wrong-type", 4, 10, "text"),
    ("kind: export\ndtype: bf16\nmodel: m\n", "export", "not-a-choice", 2, 8, "bfloat16"),
    ("kind: export\n", "export", "missing-key", 1, 1, "one of `model`, `source`"),
    (
        "kind: export\nmodel: m\nsource: {url: u}\n",
        "export",
        "ambiguous",
        1,
        1,
        "only one of `model`, `source`",
    ),
    ("kind: evaluate\nmodel: m\ntasks: []\n", "evaluate", "too-few", 3, 1, "is empty"),
    ("kind: evaluate\nmodel: m\ntasks: t\nlimit: 0\n", "evaluate", "out-of-range", 4, 8, "at least 1"),
    (
        "kind: evaluate\nmodel: m\ntasks: t\nlm_eval: {batchsize: 1}\n",
        "evaluate",
        "unknown-key",
        4,
        11,
        "batch_size",
    ),
    (
        "kind: evaluate\nmodel: m\ntasks: t\nlm_eval: {batch_size: automatic}\n",
        "evaluate",
        "wrong-form",
        4,
        23,
        "auto:N",
    ),
    ("kind: data\ndatasets: {}\n", "data", "too-few", 2, 1, "is empty"),
    ("kind: data\ndatasets: {a: {format: rows}}\n", "data", "missing-key", 2, 12, "datasets.a.from"),
    ("kind: data\ndatasets: {a: {form: x}}\n", "data", "unknown-key", 2, 16, "`from`"),
    ("kind: data\ndatasets: {a: {from: x, format: alpacca}}\n", "data", "not-a-choice", 2, 33, "`alpaca`"),
    ("kind: data\ndatasets: {a: {from: x, process: [read]}}\n", "data", "wrong-form", 2, 35, "dotted path"),
    ("kind: data\ndatasets: {a: {from: x, process: [{func: a.b}]}}\n", "data", "missing-key", 2, 36, "fn"),
    ("kind: data\ndatasets: {a: {from: x, split: {by: pmid}}}\n", "data", "missing-key", 2, 25, "`train`"),
    (
        "kind: data\ndatasets: {a: {from: x, split: {train: 1.5}}}\n",
        "data",
        "out-of-range",
        2,
        40,
        "at most 1",
    ),
    (
        "kind: data\nsources: {p: {sha256: abc}}\ndatasets: {a: {from: p}}\n",
        "data",
        "missing-key",
        2,
        11,
        "url",
    ),
    ("kind: pipeline\nstages: {}\n", "pipeline", "too-few", 2, 1, "is empty"),
    ("kind: pipeline\nstages: {a: {model: m}}\n", "pipeline", "missing-key", 2, 10, "`recipe: FILE`"),
    ("kind: pipeline\nstages: {a: {kind: evaluat}}\n", "pipeline", "unknown-kind", 2, 20, "`evaluate`"),
    ("kind: pipeline\nstages: {a: {recipe: x.yaml, wth: {}}}\n", "pipeline", "unknown-key", 2, 30, "`with`"),
    ("kind: pipeline\nstages: {a: {recipe: x.yaml, needs: b}}\n", "pipeline", "wrong-type", 2, 37, "[b]"),
    (
        "kind: pipeline\nstages: {a: {kind: export, model: m, adaptr: x}}\n",
        "pipeline",
        "unknown-key",
        2,
        38,
        "`adapter`",
    ),
]


@pytest.mark.parametrize(("more", "code", "line", "column", "words"), LLAMAFACTORY)
def test_llamafactory_key(check, more, code, line, column, words):
    found = check(HEAD + more)
    assert [(d.code, d.span.line, d.span.column) for d in found] == [(code, line, column)]
    assert words in f"{found[0].message} {found[0].hint}"


@pytest.mark.parametrize(("text", "kind", "code", "line", "column", "words"), RECIPE)
def test_recipe_key(check, text, kind, code, line, column, words):
    found = check(text, kind)
    assert (code, line, column) in [(d.code, d.span.line, d.span.column) for d in found]
    assert any(words in f"{d.message} {d.hint}" for d in found)


def test_every_mistake_at_once(check):
    found = check(HEAD + "".join(more for more, *_ in LLAMAFACTORY if "model_name" not in more))
    assert {d.code for d in found} >= {
        "unknown-key",
        "wrong-type",
        "not-a-choice",
        "out-of-range",
    }
    assert len(found) > 20


def test_warnings_do_not_fail(check):
    (warning,) = check(HEAD + "  learning_rate: 0.05\n")
    assert warning.severity == "warning"


@pytest.mark.parametrize(
    "more",
    [
        "  dataset: a,b\n",
        "  dataset: [a, b]\n",
        "  lora_target: [q_proj]\n",
        "  val_size: 100\n",
        "  deepspeed: {zero_optimization: {stage: 2}}\n",
        "  eval_dataset:\n",
        "  resume_from_checkpoint: true\n",
        "  report_to: [tensorboard, wandb]\n",
        "  interleave_probs: 0.3,0.7\n",
    ],
)
def test_what_llamafactory_takes_is_taken(check, more):
    assert check(HEAD + more) == []


@pytest.mark.parametrize("kind", kind_schema.names())
def test_token_stands_for_text_only(kind):
    described = kind_schema.load(kind)
    assert described is not None
    span = Span("x", 1, 1, 1, 1)
    for value, good in (("⟦stages.a.outputs.model⟧", True), ("⟦stages.a.outputs.model⟧/x", True)):
        found = Diagnostics()
        validate(Scalar(value, span), {"type": "string", "pattern": "^y$", "enum": ["z"]}, found)
        assert found.ok is good
    found = Diagnostics()
    validate(Scalar("⟦stages.a.outputs.model⟧", span), {"type": "integer"}, found)
    assert [d.code for d in found] == ["wrong-type"]


def test_unresolved_interpolation_stands_for_anything():
    found = Diagnostics()
    node = from_plain({"a": "${params.x}"}, Span("x", 1, 1, 1, 1), literal=False)
    validate(node, {"properties": {"a": {"type": "integer"}}}, found)
    assert found.ok
    validate(
        from_plain({"a": "${params.x}"}, Span("x", 1, 1, 1, 1)),
        {"properties": {"a": {"type": "integer"}}},
        found,
    )
    assert not found.ok


def test_a_block_that_is_not_written_is_not_named():
    key, here = Span("x", 1, 1, 1, 1), Span("x", 3, 5, 3, 9)
    block = from_plain({"template": "lama3", "model_name_or_path": "o/m", "sed": 1}, here)
    tree = Mapping(
        here,
        {"kind": Entry("kind", key, Scalar("sft", key)), "llamafactory": Entry("llamafactory", key, block)},
    )
    found = Diagnostics()
    described = kind_schema.load("sft")
    assert described is not None
    validate(tree, described, found)
    assert {d.message for d in found} == {"`template` cannot be `lama3`", "unknown key `sed`"}


VERL = [
    ("actor_rollout_ref.actor.optim.lr: 1e-6\n", None, 0, ""),
    ("actor_rollout_ref: {actor: {optim: {lr: 1e-6}}}\n", None, 0, ""),
    ("actor_rollout_ref: {actor.optim.lr: 1e-6}\n", None, 0, ""),
    ("+ray_kwargs.ray_init.num_gpus: 1\n", None, 0, ""),
    ("++trainer.mine: 1\n", None, 0, ""),
    ("~trainer.logger:\n", None, 0, ""),
    ("data.train_files: [a.parquet]\n", None, 0, ""),
    ("actor_rollout_ref.rollout.engine_kwargs.vllm.anything: 1\n", None, 0, ""),
    ("actor_rollout_ref.actr.optim.lr: 1e-6\n", "unknown-key", 19, "did you mean `actor`?"),
    ("trainer.total_epoch: 3\n", "unknown-key", 9, "did you mean `total_epochs`?"),
    ("trainer.zzz: 3\n", "unknown-key", 9, "+trainer.zzz"),
    ("'trainer.zzz': 3\n", "unknown-key", 10, "+trainer.zzz"),
    ("trainer: {zzzzzzz: 3}\n", "unknown-key", 11, "unknown key"),
    ("actor_rollout_ref.actor.optim.lr: fast\n", "wrong-type", 35, "a number"),
    ("actor_rollout_ref.actor.optim.lr: 5\n", "out-of-range", 35, "at most 1"),
    ("data.train_batch_size: 0\n", "out-of-range", 24, "at least 1"),
    ("trainer..x: 1\n", "wrong-form", 1, "one dot"),
    # Which estimators there are the rules know: a module that the recipe names may add its own.
    ("algorithm.adv_estimator: by_hops\n", None, 0, ""),
]


@pytest.mark.parametrize(("text", "code", "column", "words"), VERL)
def test_verl_key(tree, text, code, column, words):
    found = Diagnostics()
    validate(tree(text), kind_schema.engine("verl"), found, name="verl")
    if code is None:
        assert found.items == []
    else:
        (item,) = found.items
        assert (item.code, item.span.column) == (code, column)
        assert words in f"{item.message} {item.hint}"
