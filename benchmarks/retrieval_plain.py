"""A retrieval server built as Search-R1's is, to measure ours against.

`python -m benchmarks.retrieval_plain INDEX PORT DTYPE`: each request is validated by a model of pydantic,
handled in FastAPI's pool of threads, one at a time, and encodes its own queries. DTYPE is float32, which
is what such a server computes in on a CPU, or `auto`: what ours does.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import faiss
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModel, AutoTokenizer

from residency.retrieval.documents import Documents
from residency.retrieval.encoder import choose_dtype


class QueryRequest(BaseModel):
    queries: list[str]
    topk: int | None = None
    return_scores: bool = False


class Plain:
    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
        self.model = AutoModel.from_pretrained(folder / "encoder", dtype=choose_dtype(dtype, "cpu")).eval()
        self.index = faiss.read_index(str(folder / "faiss.index"))
        stored = Documents(folder)
        self.documents = [stored[at] for at in range(len(stored))]
        self.lock = threading.Lock()

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Any:
        inputs = self.tokenizer(texts, max_length=256, padding=True, truncation=True, return_tensors="pt")
        hidden = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        pooled = hidden.masked_fill(~mask.bool(), 0.0).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(pooled.float(), dim=-1).numpy()

    def search(self, texts: list[str], topk: int) -> tuple[list[list[dict[str, Any]]], Any]:
        with self.lock:
            scores, positions = self.index.search(self.encode(texts), topk)
            return [[self.documents[at] for at in row] for row in positions.tolist()], scores.tolist()


def app(plain: Plain) -> FastAPI:
    made = FastAPI()

    @made.post("/retrieve")
    def retrieve(request: QueryRequest) -> dict[str, Any]:
        found, scores = plain.search(request.queries, request.topk or 3)
        if not request.return_scores:
            return {"result": found}
        pairs = (zip(row, given, strict=True) for row, given in zip(found, scores, strict=True))
        return {"result": [[{"document": doc, "score": score} for doc, score in row] for row in pairs]}

    @made.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return made


if __name__ == "__main__":
    uvicorn.run(
        app(Plain(Path(sys.argv[1]), sys.argv[3])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error"
    )
