"""A small encoder of random weights, and documents, for tests of indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from residency.engines.retrieval.make import Maker

TOPICS = (
    "aspirin prevents colorectal cancer in older adults",
    "statins lower cholesterol and cause muscle pain",
    "vaccination of children against measles in rural clinics",
    "insulin pumps in adolescents with type 1 diabetes",
    "exercise therapy for chronic low back pain",
    "deep brain stimulation for parkinson disease",
)


def rows(count: int) -> list[dict[str, Any]]:
    """Documents that differ in topic and in the words that follow."""
    return [
        {
            "id": str(n),
            "title": f"Study {n} of {TOPICS[n % len(TOPICS)]}",
            "text": f"We report on {TOPICS[n % len(TOPICS)]}, site {n * 7919 % 1009}, ward {n * 31 % 97}.",
        }
        for n in range(count)
    ]


def write_rows(path: Path, documents: list[dict[str, Any]]) -> Path:
    """The documents as JSONL; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    return path


def make_encoder(folder: Path, *, hidden: int = 32, seed: int = 0, layers: bool = False) -> Path:
    """A random BERT with a tokenizer of whole words; with `layers`, sentence-transformers' own files too."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([f"{row['title']} {row['text']}" for row in rows(40)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=400,
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    model = BertModel(config)
    with torch.no_grad():  # words must weigh more than their places, or all texts look alike
        model.embeddings.word_embeddings.weight.mul_(20)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    if layers:
        kinds = ("Transformer", "Pooling", "Normalize")
        modules = [
            {
                "idx": n,
                "name": str(n),
                "path": "" if n == 0 else f"{n}_{kind}",
                "type": f"sentence_transformers.models.{kind}",
            }
            for n, kind in enumerate(kinds)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        (folder / "2_Normalize").mkdir()
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))
        prompts = {"prompts": {"query": "find: ", "document": "text: "}}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def stage(corpus: Path, folder: Path, **keys: Any) -> dict[str, Any]:
    """What `engine.prepare` would write into stage.yaml."""
    return {"name": "index", "base": str(folder), "corpus": [str(corpus)], "threads": 1, "gpus": 0, **keys}


def make_index(corpus: Path, folder: Path, **keys: Any) -> Path:
    """Make an index in this process; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    Maker(stage(corpus, folder, **keys), folder).make()
    return folder / "outputs" / "index"
