"""Codes of the schema's, the registry's and the engine rules' diagnostics, beside those in codes.py."""

from __future__ import annotations

SCHEMA_CODES: dict[str, str] = {
    "ambiguous": "A block gives several keys of which only one may stand.",
    "missing-package": "A key needs a Python package that is not installed.",
    "model-missing": "A model or adapter folder is not there, or holds none.",
    "needs-gpu": "A setting needs a GPU, and the training would run on a CPU.",
    "needs-use-cpu": "bf16 without a GPU is refused unless `use_cpu: true` is given.",
    "no-eval-set": "Evaluation is asked for, and there is nothing to evaluate on.",
    "no-template": "No chat template is chosen, so that one is guessed at.",
    "output-dir-in-use": "The output folder holds something, and nothing says that it may be used.",
    "unknown-template": "There is no chat template of that name.",
    "unsupported-stage": "A training stage does not work with the versions that are pinned.",
    "unused-key": "A key has no effect beside the others.",
    "wrong-dataset": "A dataset is not of the sort that the training stage needs.",
}
"""Code → what is wrong, in one sentence."""
