"""Texts to vectors: one model, for documents or for queries, as the manifest says.

Most encoders are a transformer whose token vectors are pooled. Those run here with transformers
alone; one with further layers (`pooling: model`) goes through sentence-transformers. Texts are
tokenized once, sorted by length and put into batches of so many tokens, so that little is padded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.retrieval.manifest import Encoder

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
"""Tokens of a batch, padding included."""
QUERY_TOKENS = 256
"""Tokens of a batch of queries on a CPU: queries of unequal length are mostly padding in one batch."""
LEAST_TOKENS = 64
"""Of a batch, when there are few texts for many workers."""
WORKERS = 8
"""Batches that a CPU computes at once at most, each by its share of the threads. Two threads that work at
a batch each are faster than two at one: by 1.9 for thirty-two titles, by 1.2 for abstracts (MiniLM)."""
BATCH_TEXTS = 1024
Text = str | tuple[str, str]
Tell = Callable[[int], None]


class TextEncoder:
    """A model that is loaded. Calls of several threads wait for one another."""

    def __init__(
        self,
        folder: Path,
        spec: Encoder,
        *,
        device: str = "cpu",
        threads: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        """Load the model in `folder`.

        Args:
            folder: The model's folder.
            spec: How texts become vectors.
            device: `cpu`, `cuda`, `cuda:1`.
            threads: CPU threads; without it those that torch has.
            batch_tokens: Tokens of a batch.

        Raises:
            Missing: transformers or torch is not installed, or the device is not there.
            StageFailed: the folder holds no model that can be loaded.
        """
        try:
            import torch
        except ImportError as error:
            raise Missing(f"the Python package {error.name} is not installed", "make install") from error
        own = _threads()
        threads = threads or own
        torch.set_num_threads(threads)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise Missing(f"there is no GPU for `{device}`", "device: cpu")
        self.spec = spec
        self.device = device
        self.dtype = choose_dtype(spec.dtype, device)
        self._batch_tokens = batch_tokens or BATCH_TOKENS["cuda" if device.startswith("cuda") else "cpu"]
        self._lock = threading.Lock()
        self._workers = 1 if device.startswith("cuda") else min(threads, WORKERS)
        self._pool = None
        if self._workers > 1:
            # This holds for the whole process, whichever thread says it.
            torch.set_num_threads(threads // self._workers)
            self._pool = ThreadPoolExecutor(self._workers, "encode")
        self._tokenizer, self._vectors = _load(folder, spec.pooling, self.dtype, device)
        probe = self.encode(["."], prefix="", limit=16)
        self.dimension = int(probe.shape[1])
        if spec.dimension and spec.dimension != self.dimension:
            raise StageFailed(
                f"the model in {folder} makes vectors of {self.dimension} dimensions, "
                f"and the index has {spec.dimension}",
                "it is not the model that the index was made with: make the index again",
            )

    def passages(self, documents: Sequence[tuple[str, str]], tell: Tell | None = None) -> np.ndarray:
        """The vectors of documents, each (title, text): float32, (n, dimension)."""
        texts: list[Text]
        if self.spec.pair:
            texts = [(title, text) for title, text in documents]
        else:
            texts = [f"{title}\n{text}" if title and text else title or text for title, text in documents]
        return self.encode(
            texts, prefix=self.spec.passage_prefix, limit=self.spec.max_passage_length, tell=tell
        )

    def queries(self, queries: Sequence[str]) -> np.ndarray:
        """The vectors of queries: float32, (n, dimension)."""
        return self.encode(
            list(queries),
            prefix=self.spec.query_prefix,
            limit=self.spec.max_query_length,
            batch_tokens=min(self._batch_tokens, QUERY_TOKENS) if self.device == "cpu" else None,
        )

    def encode(
        self,
        texts: Sequence[Text],
        *,
        prefix: str,
        limit: int,
        tell: Tell | None = None,
        batch_tokens: int | None = None,
    ) -> np.ndarray:
        """The vectors of texts, in their order.

        Args:
            texts: Each a text, or a pair of segments.
            prefix: Goes before each; before the first segment of a pair.
            limit: Tokens of a text at most, special ones included.
            tell: Is given the number of texts done since it was last called.
            batch_tokens: Tokens of a batch; without it those that the encoder was made with.

        Raises:
            StageFailed: a vector holds a value that is no number.
        """
        import numpy as np

        if not texts:
            return np.empty((0, self.spec.dimension), dtype=np.float32)
        with self._lock:
            encoded = self._tokenize(texts, prefix, limit)
            lengths = [len(ids) for ids in encoded["input_ids"]]
            order = sorted(range(len(texts)), key=lambda at: -lengths[at])
            tokens = batch_tokens or self._batch_tokens
            if self._pool is not None:  # few texts are shared out too
                tokens = min(tokens, max(LEAST_TOKENS, -(-sum(lengths) // self._workers)))
            cut = batches(order, lengths, tokens)

            def vectors(batch: Sequence[int]) -> np.ndarray:
                rows = {key: [values[at] for at in batch] for key, values in encoded.items()}
                return self._batch(rows)

            found: np.ndarray | None = None
            made_of = map if self._pool is None or len(cut) == 1 else self._pool.map
            for batch, made in zip(cut, made_of(vectors, cut), strict=True):
                if found is None:
                    found = np.empty((len(texts), made.shape[1]), dtype=np.float32)
                found[batch] = made
                if tell is not None:
                    tell(len(batch))
        assert found is not None
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(wrong):
            raise StageFailed(
                "the model made a vector that is not all numbers (NaN or infinite), of the text "
                f"{str(texts[int(wrong[0])])[:80]!r}",
                "set encoder.dtype: float32; when that does not help, the weights are damaged",
            )
        return found

    def _batch(self, rows: dict[str, list[list[int]]]) -> np.ndarray:
        """The vectors of one batch."""
        import torch

        with torch.inference_mode():
            padded = self._tokenizer.pad(rows, padding=True, return_tensors="pt").to(self.device)
            vectors = self._vectors(padded).float()
            if self.spec.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            made: np.ndarray = vectors.cpu().numpy()
        return made

    def _tokenize(self, texts: Sequence[Text], prefix: str, limit: int) -> dict[str, list[list[int]]]:
        first = [f"{prefix}{text if isinstance(text, str) else text[0]}" for text in texts]
        second = None if isinstance(texts[0], str) else [text[1] for text in texts]
        encoded = self._tokenizer(
            first, second, truncation="longest_first", max_length=limit, padding=False, verbose=False
        )
        return {key: list(values) for key, values in encoded.items()}


@cache
def _threads() -> int:
    """The threads that torch had before the first encoder of this process shared them out."""
    import torch

    return torch.get_num_threads()


def batches(order: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Positions in batches of at most so many tokens, padding included, one text at least.

    Args:
        order: Positions, longest first.
        lengths: Of each text, in tokens.
        tokens: Of a batch.
    """
    made: list[list[int]] = []
    batch: list[int] = []
    for at in order:
        longest = lengths[batch[0]] if batch else 0
        if batch and (longest * (len(batch) + 1) > tokens or len(batch) == BATCH_TEXTS):
            made.append(batch)
            batch = []
        batch.append(at)
    return [*made, batch] if batch else made


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """The type that a model computes in here.

    `auto` is bfloat16 where the machine is fast in it: on a CPU that takes instructions for it
    (AVX512-BF16, AMX), with which a model is two to four times as fast as in float32.
    """
    import torch

    on_gpu = device.startswith("cuda")
    if wanted == "auto":
        if on_gpu:
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if _fast_bfloat16() else torch.float32
    if not on_gpu and (wanted == "float16" or (wanted == "bfloat16" and not _fast_bfloat16())):
        return torch.float32  # an index made elsewhere: exact, and quicker here
    known: torch.dtype = getattr(torch, wanted)
    return known


def _fast_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _load(folder: Path, pooling: str, dtype: torch.dtype, device: str) -> tuple[Any, Callable[[Any], Any]]:
    """The tokenizer, and a function from a padded batch to (n, dimension)."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    if pooling == "model":
        return _sentence_transformer(folder, dtype, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, dtype=dtype).to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        raise StageFailed(
            f"{folder} holds no model that transformers can load: {str(error).splitlines()[0]}",
            "an encoder has config.json, weights and a tokenizer",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _to_the_right(tokenizer)

    def vectors(batch: Any) -> Any:
        return pool(model(**batch).last_hidden_state, batch["attention_mask"], pooling)

    return tokenizer, vectors


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """Token vectors (n, tokens, d) to one for each text (n, d), in float32; padding is on the right.

    Raises:
        RecipeInvalid: `how` is none of mean, cls, last.
    """
    import torch

    if how == "cls":
        return hidden[:, 0].float()
    if how == "last":
        last = mask.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
    if how == "mean":
        weights = mask.unsqueeze(-1).float()
        return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    raise RecipeInvalid(f"`{how}` is no pooling", "mean, cls or last")


def _to_the_right(tokenizer: Any) -> None:
    tokenizer.padding_side = "right"
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True  # texts are sorted in between


def _sentence_transformer(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Callable[[Any], Any]]:
    """A model of more layers than a transformer and its pooling."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise Missing(f"the Python package {error.name} is not installed", "make install") from error
    try:
        model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": dtype}).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise StageFailed(
            f"{folder} holds no model that sentence-transformers can load: {str(error).splitlines()[0]}"
        ) from error
    if not callable(getattr(model, "tokenizer", None)):
        raise StageFailed(f"the encoder in {folder} has no tokenizer of transformers", "another encoder")
    _to_the_right(model.tokenizer)

    def vectors(batch: Any) -> Any:
        return model(dict(batch))["sentence_embedding"]

    return model.tokenizer, vectors
