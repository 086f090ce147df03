"""A two-class model of random weights, made of a language model."""

from __future__ import annotations

from pathlib import Path


def add_head(base: Path, folder: Path, classes: int = 2) -> Path:
    """The model in `base` with a random head, and its tokenizer, in `folder`; returns `folder`."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=classes)
    torch.nn.init.normal_(model.score.weight, std=2.0)  # large, so that texts differ in probability
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
