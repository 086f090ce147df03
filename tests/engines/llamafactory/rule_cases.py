"""Settings that break a rule: what is written, the code, the key, and whether LLaMA-Factory refuses."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    text: str
    """Lines laid over the base settings."""
    code: str
    key: str
    """The key at whose line the diagnostic stands."""
    refused: bool
    """LLaMA-Factory's argument parser raises; else it goes wrong later, or silently."""
    severity: str = "error"


BASE: dict[str, Any] = {
    "model_name_or_path": "org/model",
    "template": "llama3",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "dataset": "toy",
    "output_dir": "out",
}

CASES = [
    # Evaluation
    Case("eval_strategy: steps", "no-eval-set", "eval_strategy", True),
    Case("eval_strategy: epoch\nval_size: 0", "no-eval-set", "eval_strategy", True),
    Case("do_eval: true", "no-eval-set", "do_eval", True),
    Case("do_predict: true\npredict_with_generate: true", "no-eval-set", "predict_with_generate", True),
    Case("val_size: 0.1\neval_dataset: toy\neval_strategy: steps", "conflicting-keys", "val_size", True),
    Case("val_size: 0.1", "unused-key", "val_size", False, "warning"),
    Case("eval_dataset: toy", "unused-key", "eval_dataset", False, "warning"),
    Case("load_best_model_at_end: true", "conflicting-keys", "load_best_model_at_end", True),
    Case(
        "load_best_model_at_end: true\nval_size: 0.1\neval_strategy: epoch",
        "conflicting-keys",
        "load_best_model_at_end",
        True,
    ),
    Case(
        "load_best_model_at_end: true\nval_size: 0.1\neval_strategy: steps\neval_steps: 30\nsave_steps: 100",
        "conflicting-keys",
        "save_steps",
        True,
    ),
    Case(
        "load_best_model_at_end: true\nval_size: 0.1\neval_strategy: steps\neval_steps: 0.3\nsave_steps: 100",
        "conflicting-keys",
        "save_steps",
        True,
    ),
    Case("early_stopping_steps: 3", "conflicting-keys", "early_stopping_steps", False),
    Case(
        "early_stopping_steps: 3\nval_size: 0.1\neval_strategy: steps",
        "missing-key",
        "early_stopping_steps",
        False,
    ),
    Case("lr_scheduler_type: reduce_lr_on_plateau", "conflicting-keys", "lr_scheduler_type", True),
    Case(
        "predict_with_generate: true\nval_size: 0.1\ncompute_accuracy: true\neval_strategy: steps",
        "conflicting-keys",
        "compute_accuracy",
        True,
    ),
    # Precision and devices
    Case("bf16: true\nfp16: true\nuse_cpu: true", "conflicting-keys", "fp16", True),
    Case("bf16: true", "needs-use-cpu", "bf16", True),
    Case("pure_bf16: true\nuse_cpu: true", "needs-gpu", "pure_bf16", True),
    Case("fp16: true\nuse_cpu: true", "needs-gpu", "fp16", False),
    # Method
    Case("stage: ppo\nreward_model: org/rm", "unsupported-stage", "stage", False),
    Case("finetuning_type: full\nuse_dora: true", "conflicting-keys", "use_dora", True),
    Case("finetuning_type: full\npissa_init: true", "conflicting-keys", "pissa_init", True),
    Case("finetuning_type: full\nloraplus_lr_ratio: 16.0", "conflicting-keys", "loraplus_lr_ratio", True),
    Case("finetuning_type: full\nlora_rank: 16", "unused-key", "lora_rank", False, "warning"),
    Case("freeze_trainable_layers: 2", "unused-key", "freeze_trainable_layers", False, "warning"),
    Case("finetuning_type: full\nuse_llama_pro: true", "conflicting-keys", "use_llama_pro", True),
    Case(
        "finetuning_type: full\nadapter_name_or_path: org/lora",
        "conflicting-keys",
        "adapter_name_or_path",
        True,
    ),
    Case("finetuning_type: full\nquantization_bit: 4", "conflicting-keys", "quantization_bit", True),
    Case("stage: dpo\nadapter_name_or_path: org/lora", "unusual-value", "adapter_name", False, "warning"),
    Case("stage: kto\nadapter_name_or_path: org/lora", "unusual-value", "adapter_name", False, "warning"),
    Case(
        "stage: rm\nfinetuning_type: full\nmodel_name_or_path: ./tied",
        "unsupported-stage",
        "finetuning_type",
        False,
    ),
    Case("quantization_bit: 5", "out-of-range", "quantization_bit", False),
    Case("quantization_bit: 4", "missing-package", "quantization_bit", False),
    Case("quantization_bit: 4\npissa_init: true", "conflicting-keys", "pissa_init", True),
    Case("quantization_bit: 4\nresize_vocab: true", "conflicting-keys", "resize_vocab", True),
    Case(
        "quantization_bit: 4\nadapter_name_or_path: org/a,org/b",
        "conflicting-keys",
        "adapter_name_or_path",
        True,
    ),
    Case(
        "quantization_bit: 4\nquantization_device_map: auto",
        "conflicting-keys",
        "quantization_device_map",
        True,
    ),
    Case("lora_target: q_prj,v_proj", "unusual-value", "lora_target", False, "warning"),
    Case("lora_target: all-linear", "wrong-form", "lora_target", False),
    Case("use_galore: true", "conflicting-keys", "use_galore", True),
    Case("finetuning_type: full\nuse_galore: true\nuse_badam: true", "conflicting-keys", "use_badam", True),
    Case("use_unsloth: true", "missing-package", "use_unsloth", True),
    Case("enable_liger_kernel: true", "missing-package", "enable_liger_kernel", True),
    Case("stage: kto\npissa_init: true", "conflicting-keys", "pissa_init", True),
    Case("stage: dpo\npissa_init: true", "conflicting-keys", "pissa_init", True),
    Case(
        "stage: dpo\npref_loss: ipo\ndpo_label_smoothing: 0.1",
        "conflicting-keys",
        "dpo_label_smoothing",
        True,
    ),
    # The stage's own keys
    Case("stage: dpo\npredict_with_generate: true", "conflicting-keys", "predict_with_generate", True),
    Case("stage: pt\nneat_packing: true", "conflicting-keys", "neat_packing", True),
    Case("stage: kto\ntrain_on_prompt: true", "conflicting-keys", "train_on_prompt", True),
    Case("stage: rm\nmask_history: true", "conflicting-keys", "mask_history", True),
    Case("mask_history: true\ntrain_on_prompt: true", "conflicting-keys", "mask_history", True),
    Case("do_predict: true\nval_size: 0.1", "conflicting-keys", "do_predict", True),
    Case(
        "stage: rm\nload_best_model_at_end: true\nval_size: 0.1\neval_strategy: steps\nsave_strategy: steps",
        "conflicting-keys",
        "load_best_model_at_end",
        True,
    ),
    # Data
    Case("streaming: true", "missing-key", "streaming", True),
    Case("streaming: true\nmax_steps: 10\nmax_samples: 5", "conflicting-keys", "max_samples", True),
    Case(
        "streaming: true\nmax_steps: 10\nval_size: 0.1\neval_strategy: steps",
        "conflicting-keys",
        "val_size",
        True,
    ),
    Case("interleave_probs: 0.5,0.5\ndataset: toy,toy", "conflicting-keys", "interleave_probs", True),
    Case(
        "interleave_probs: 0.5,0.5\nmix_strategy: interleave_under",
        "conflicting-keys",
        "interleave_probs",
        True,
    ),
    Case("neat_packing: true\npacking: false", "unused-key", "packing", False, "warning"),
    Case("dataloader_prefetch_factor: 2", "conflicting-keys", "dataloader_prefetch_factor", True),
    # Steps and reports
    Case("max_steps: 10\nnum_train_epochs: 2.0", "unused-key", "num_train_epochs", False, "warning"),
    Case("warmup_ratio: 0.1\nwarmup_steps: 5", "unused-key", "warmup_steps", False, "warning"),
    Case("max_steps: 10\nwarmup_steps: 50", "unusual-value", "warmup_steps", False, "warning"),
    Case("logging_steps: 1.5", "wrong-type", "logging_steps", True),
    Case("save_steps: 10.5", "wrong-type", "save_steps", True),
    Case("save_strategy: epoch\nsave_steps: 10", "unused-key", "save_steps", False, "warning"),
    Case("report_to: wandbb", "not-a-choice", "report_to", False),
    Case("report_to: [tensorboard, mlflow]", "missing-package", "report_to", False),
    # Paths
    Case("model_name_or_path: ./none", "model-missing", "model_name_or_path", False),
    Case("model_name_or_path: /no/where", "model-missing", "model_name_or_path", False),
    Case("model_name_or_path: a/b/c", "model-missing", "model_name_or_path", False),
    Case("model_name_or_path: folder/modle", "model-missing", "model_name_or_path", False),
    Case("model_name_or_path: folder/adapter", "model-missing", "model_name_or_path", False),
    Case("model_name_or_path: folder/model.gguf", "model-missing", "model_name_or_path", False),
    Case("adapter_name_or_path: org/a, ./none", "model-missing", "adapter_name_or_path", False),
    Case("adapter_name_or_path: folder/model", "model-missing", "adapter_name_or_path", False),
    Case(
        "model_name_or_path: folder/model\ncutoff_len: 4096",
        "unusual-value",
        "cutoff_len",
        False,
        "warning",
    ),
    Case("resume_from_checkpoint: ./none", "missing-file", "resume_from_checkpoint", False),
    Case("resume_from_checkpoint: folder/model", "missing-file", "resume_from_checkpoint", False),
    Case("output_dir: used", "output-dir-in-use", "output_dir", True),
    # Datasets
    Case("dataset: toyy", "unknown-dataset", "dataset", False),
    Case("dataset: toy, toyy", "unknown-dataset", "dataset", False),
    Case("dataset: [toy, toyy]", "unknown-dataset", "dataset", False),
    Case("eval_dataset: toyy\neval_strategy: steps", "unknown-dataset", "eval_dataset", False),
    Case("dataset_dir: nowhere", "missing-file", "dataset_dir", False),
    Case("dataset_dir: folder", "missing-file", "dataset_dir", False),
    Case("stage: dpo", "wrong-dataset", "dataset", False),
    Case("stage: rm", "wrong-dataset", "dataset", False),
    Case("stage: kto", "wrong-dataset", "dataset", False),
    Case("dataset: pairs", "wrong-dataset", "dataset", False),
    Case("trust_remote_code: true", "untrusted", "trust_remote_code", False, "warning"),
]

GOOD = [
    "",
    "trust_remote_code: false",
    "model_name_or_path: tied\ntrust_remote_code: true",
    "bf16: true\nuse_cpu: true",
    "val_size: 0.1\neval_strategy: steps\neval_steps: 10",
    "eval_dataset: toy\neval_strategy: epoch",
    "val_size: 10\neval_strategy: steps\nload_best_model_at_end: true\neval_steps: 50\nsave_steps: 100",
    "val_size: 0.1\neval_strategy: steps\nsave_strategy: best\nload_best_model_at_end: true",
    "stage: dpo\ndataset: pairs",
    "stage: rm\ndataset: pairs",
    "stage: pt",
    "finetuning_type: full",
    "finetuning_type: freeze\nfreeze_trainable_layers: 2",
    "finetuning_type: oft\noft_block_size: 32",
    "lora_target: q_proj,v_proj",
    "lora_target: [q_proj, v_proj]",
    "streaming: true\nmax_steps: 10",
    "interleave_probs: 0.5,0.5\nmix_strategy: interleave_under\ndataset: toy,toy",
    "report_to: tensorboard",
    "report_to: none",
    "packing: true\nneat_packing: true",
    "adapter_name_or_path: org/lora",
    "warmup_ratio: 0.1\nlr_scheduler_type: cosine",
    "output_dir: empty",
    "output_dir: used\noverwrite_output_dir: true",
    "dataset_dir: other\ndataset: mine",
    "model_name_or_path: folder/model\ncutoff_len: 512",
    "model_name_or_path: gpt2",
    "dataset: [toy]",
]
