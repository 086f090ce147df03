"""A model in this process: transformers' `generate`, several rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from residency.endpoint.prompt import Tokenizer
from residency.engines.generate.ask import Wanted
from residency.engines.generate.spec import Spec


class Local:
    """A model that transformers loads."""

    def __init__(self, spec: Spec) -> None:
        import torch
        import transformers

        assert spec.model is not None
        self.spec = spec
        self.tokenizer = Tokenizer(spec.model)
        inner = self.tokenizer.inner
        inner.padding_side = "left"
        if inner.pad_token_id is None:
            inner.pad_token = inner.eos_token
        cuda = torch.cuda.is_available()
        dtype = getattr(torch, spec.dtype or ("bfloat16" if cuda else "float32"))
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(spec.model, dtype=dtype)
        if spec.adapter:
            import peft

            model = peft.PeftModel.from_pretrained(model, spec.adapter)
        self.model = model.to("cuda" if cuda else "cpu").eval()
        self.about = {
            "name": "transformers",
            "version": transformers.__version__,
            "model": spec.model,
            "adapter": spec.adapter,
            "dtype": str(dtype).removeprefix("torch."),
        }

    def answer(self, wanted: Iterator[Wanted], keep: Callable[[Wanted, dict[str, Any]], None]) -> None:
        """A batch at a time, in the order of the rows.

        Where batches begin depends on the rows alone, so that after a kill the rest is batched, and
        sampled, as it would have been.
        """
        how, limit = self.spec.sampling, self.tokenizer.context
        for _, group in itertools.groupby(wanted, lambda i: (i.row * how.n + i.sample) // self.spec.batch):
            fitting, prompts = [], []
            for item in group:
                tokens = self.tokenizer.encode(self.tokenizer.render(item.messages))
                if limit is not None and len(tokens) + how.max_tokens > limit:
                    keep(item, {"too_long": True})
                else:
                    fitting.append(item)
                    prompts.append(tokens)
            if fitting:
                for item, row in zip(fitting, self._batch(fitting, prompts), strict=True):
                    keep(item, row)

    def _batch(self, items: list[Wanted], prompts: list[list[int]]) -> list[dict[str, Any]]:
        import torch

        how, inner = self.spec.sampling, self.tokenizer.inner
        padded = inner.pad({"input_ids": prompts}, return_tensors="pt").to(self.model.device)
        more: dict[str, Any] = {"do_sample": how.temperature > 0}
        if how.temperature > 0:
            # transformers draws for a batch at once: the seed is that of its first answer.
            torch.manual_seed(how.seed_of(items[0].row, items[0].sample))
            more |= {"temperature": how.temperature, "top_p": how.top_p or 1.0, "top_k": how.top_k or 0}
        if how.stop:
            more |= {"stop_strings": list(how.stop), "tokenizer": inner}
        with torch.inference_mode():
            found = self.model.generate(
                **padded, max_new_tokens=how.max_tokens, pad_token_id=inner.pad_token_id, **more
            )
        start = padded["input_ids"].shape[1]
        return [
            self._row(tokens[start:].tolist(), len(prompt))
            for tokens, prompt in zip(found, prompts, strict=True)
        ]

    def _row(self, tokens: list[int], prompt_tokens: int) -> dict[str, Any]:
        """One answer, cut at what ended it."""
        given = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.inner.eos_token_id, *(given if isinstance(given, list) else [given])}
        length = next((i for i, token in enumerate(tokens) if token in ends), None)
        text: str = self.tokenizer.inner.decode(tokens[:length], skip_special_tokens=True)
        cut = min(
            (place for stop in self.spec.sampling.stop if (place := text.find(stop)) >= 0), default=None
        )
        ended = length is not None or cut is not None
        return {
            "text": text[:cut],
            "finish_reason": "stop" if ended else "length",
            "tokens": len(tokens) if length is None else length + 1,
            "prompt_tokens": prompt_tokens,
        }
