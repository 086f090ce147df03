"""A verifier held in memory: texts in, probabilities that the response is right out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residency.errors import Missing, RecipeInvalid, ResidencyError
from residency.verifier import checkpoint, text

BATCH_TOKENS = 16384
"""Tokens of one forward pass at most, padding included, whatever the batch size."""

Pair = tuple[str, str]
"""(response, reference)."""

_held: dict[tuple[str, str, str], Classifier] = {}
_loading = threading.Lock()


def held(name: str, *, device: str = "auto", dtype: str = "auto") -> Classifier:
    """The verifier of that name, loaded once in this process.

    Args:
        name: A folder, or a hub name whose files are fetched or lie in the hub's cache.
        device: `cpu`, `cuda`, or `auto`: a GPU where this process sees one.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 on a GPU, else float32. A CPU
            that has bfloat16 is 1.7 times as fast with it (135 M parameters, 2 cores); it moves
            probabilities by up to a few hundredths, depending on what shares the batch.

    Raises:
        Missing: it is not there.
        RecipeInvalid: it is no two-class sequence classifier.
    """
    path = Path(name).expanduser()
    key = (str(path.resolve() if path.exists() else name), device, dtype)
    with _loading:  # a second caller waits for the first one's model instead of loading its own
        if key not in _held:
            _held[key] = Classifier(key[0], device=device, dtype=dtype)
        return _held[key]


def release() -> None:
    """Let go of the verifiers that this process holds, so that others have the memory."""
    with _loading:
        if not _held:
            return
        _held.clear()
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Classifier:
    """A two-class model with its own tokenizer. One caller at a time uses it; others wait."""

    def __init__(self, name: str, *, device: str = "auto", dtype: str = "auto") -> None:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        path = Path(name)
        local = path.is_absolute() or path.exists()
        if local:
            checkpoint.check(path)
        try:
            config = AutoConfig.from_pretrained(name)
            if config.num_labels != 2:
                raise RecipeInvalid(f"the verifier {name} tells {config.num_labels} classes apart, not two")
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self._torch = torch
            self.device = _device(torch, device)
            wanted = _dtype(torch, self.device, dtype)
            model, said = AutoModelForSequenceClassification.from_pretrained(
                name, config=config, dtype=wanted, output_loading_info=True
            )
        except ResidencyError:
            raise
        except (OSError, ValueError) as error:
            raise Missing(
                f"the verifier {name} cannot be loaded: {str(error).splitlines()[0]}",
                None if local else "give the path of a local folder, or let the machine reach the hub",
            ) from error
        if said["missing_keys"]:
            raise RecipeInvalid(
                f"the verifier {name} lacks weights, {sorted(said['missing_keys'])[0]} first: "
                "its classification head was never trained"
            )
        self._pad = padding(config, self._tokenizer)
        config.pad_token_id = self._pad
        model.config.pad_token_id = self._pad
        self._model: Any = model.to(self.device).eval()
        self._lock = threading.Lock()
        self.settings = checkpoint.settings(path) if local else checkpoint.Settings()
        self.longest = longest(config, self._tokenizer)

    def probabilities(
        self,
        pairs: Sequence[Pair],
        *,
        template: str | None = None,
        max_length: int | None = None,
        batch_size: int = 16,
        threads: int | None = None,
    ) -> list[float]:
        """The probability that each response gives its reference answer, in the order given.

        Args:
            pairs: (response, reference) texts.
            template: The text they are set in; default: the one the verifier was trained with.
            max_length: Tokens of a text at most; a longer response loses its end.
            batch_size: Texts of one forward pass at most. Texts of like length go together.
            threads: CPU threads to use; default half of this machine's, at most 8.

        Raises:
            ValueError: a template without its places, or a reference that alone is too long.
        """
        template = template or self.settings.template
        text.check_template(template)
        most = min(max_length or self.settings.max_length, self.longest)
        with self._lock, _bounded(self._torch, threads, self.device):
            ids = [encode(self._tokenizer, template, pair, most) for pair in pairs]
            return self._all(ids, batch_size)

    def whole(
        self,
        texts: Sequence[str],
        *,
        max_length: int | None = None,
        batch_size: int = 16,
        threads: int | None = None,
    ) -> list[float]:
        """The same for texts that are set in their template already; one that is too long loses its start."""
        most = min(max_length or self.settings.max_length, self.longest)
        with self._lock, _bounded(self._torch, threads, self.device):
            return self._all([_ids(self._tokenizer, one)[-most:] for one in texts], batch_size)

    def _all(self, ids: list[list[int]], batch_size: int) -> list[float]:
        found = [0.0] * len(ids)
        for batch in batches([len(one) for one in ids], batch_size):
            for index, value in zip(batch, self._forward([ids[i] for i in batch]), strict=True):
                found[index] = value
        return found

    def _forward(self, ids: list[list[int]]) -> list[float]:
        torch = self._torch
        width = max(map(len, ids))
        padded = torch.tensor([one + [self._pad] * (width - len(one)) for one in ids], device=self.device)
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids], device=self.device)
        with torch.inference_mode():
            logits = self._model(input_ids=padded, attention_mask=mask).logits
        values: list[float] = logits.float().softmax(-1)[:, 1].tolist()
        if not all(0.0 <= value <= 1.0 for value in values):
            raise ValueError("the verifier gives no numbers: its weights are spoilt, or need dtype float32")
        return values


def encode(tokenizer: Any, template: str, pair: Pair, most: int) -> list[int]:
    """The token ids of one text, at most `most` of them, the end of the response left out if need be.

    The reference and the question about it stand at the end of the text, so cutting that would
    leave a verifier with nothing to compare. A tokenizer's end-of-text token is put last.
    """
    response, reference = pair
    ids = _ids(tokenizer, text.fill(template, response, reference))
    if len(ids) <= most:
        return ids
    room = most - len(_ids(tokenizer, text.fill(template, "", reference)))
    if room < 1:
        raise ValueError(
            f"the reference answer and the template take up all of the verifier's {most} tokens: "
            f"{reference[:60]!r}"
        )
    own: list[int] = tokenizer(response, add_special_tokens=False, verbose=False)["input_ids"]
    while room > 0:  # a text that is cut may need a token more where it now ends
        ids = _ids(tokenizer, text.fill(template, tokenizer.decode(own[:room]), reference))
        if len(ids) <= most:
            return ids
        room -= max(1, len(ids) - most)
    return _ids(tokenizer, text.fill(template, "", reference))


def _ids(tokenizer: Any, whole: str) -> list[int]:
    ids: list[int] = list(tokenizer(whole, verbose=False)["input_ids"])
    end = tokenizer.eos_token_id
    if end is not None and (not ids or ids[-1] != end):
        ids.append(end)
    return ids


def batches(lengths: Sequence[int], size: int, tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices in groups of like length: at most `size`, and `tokens` with their padding."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if group and (len(group) >= size or (len(group) + 1) * lengths[index] > tokens):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def padding(config: Any, tokenizer: Any) -> int:
    """The token to pad with.

    A decoder's classifier reads the last token that is not padding, or, where its configuration
    names no padding, the very last one, which is the end-of-text. So what the configuration says
    holds; else it is the tokenizer's, or any token, as long as it is not the end-of-text.
    """
    end = tokenizer.eos_token_id
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != end:
        return int(tokenizer.pad_token_id)
    return 0 if end != 0 else 1


def longest(config: Any, tokenizer: Any) -> int:
    """The most tokens that the model and its tokenizer take."""
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    places = getattr(inner, "max_position_embeddings", None)
    named = [n for n in (places, tokenizer.model_max_length) if isinstance(n, int) and n > 1]
    return min([*named, 1 << 30])


def _device(torch: Any, wanted: str) -> str:
    if wanted != "auto":
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            raise Missing(
                "the verifier is asked to run on a GPU, and this process sees none",
                "leave `device` out, or give the verifier's process a GPU",
            )
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(torch: Any, device: str, wanted: str) -> Any:
    if wanted == "auto":
        return torch.bfloat16 if device != "cpu" else torch.float32
    if wanted not in ("float32", "bfloat16", "float16"):
        raise RecipeInvalid(f"`dtype: {wanted}`: a verifier's type is float32, bfloat16, float16 or auto")
    return getattr(torch, wanted)


@contextmanager
def _bounded(torch: Any, threads: int | None, device: str) -> Iterator[None]:
    """Use so many CPU threads, and give back what the process had."""
    if device != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads or max(1, min(8, len(os.sched_getaffinity(0)) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
