"""Token-by-token decoding of many requests with one transformers model.

Requests share a left-padded batch and one key/value cache. A prompt that several requests have
in common, as GRPO's groups do, is read once and its cache copied. Requests join and leave
between two tokens; the batch shrinks as answers end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import Cache

from residency.inference.attention import make_cache
from residency.inference.sampling import Sampling, pick, process_logits

LogProbs = Literal["processed_logprobs", "raw_logprobs"]
"""verl's `rollout.logprobs_mode`: of the distribution that is sampled from (temperature, top-k and
top-p applied; what verl's old log-probs are as long as nothing is filtered), or of the model's own."""


@dataclass(slots=True, eq=False)
class Request:
    """One prompt under way."""

    prompt: list[int]
    sampling: Sampling
    uniforms: torch.Tensor
    """(max_tokens,) float64: the random numbers of its tokens."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the answer has ended, by a stop token or its limit."""
        return bool(self.tokens) and (
            len(self.tokens) >= self.sampling.max_tokens or self.tokens[-1] in self.sampling.stop_ids
        )


def make_request(prompt: Sequence[int], sampling: Sampling, *, seed: tuple[int, ...]) -> Request:
    """A request whose random numbers follow from the prompt and `seed`, or its own seed.

    Args:
        seed: what tells this request from others with the same prompt: the rollout's seed, the
            step of the weights, how often the prompt was asked before.
    """
    # The prompt too, since all turns of a rollout bear its seed.
    text = repr((("seed", sampling.seed) if sampling.seed is not None else seed, list(prompt)))
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    generator = torch.Generator().manual_seed(number)
    uniforms = torch.rand(sampling.max_tokens, generator=generator, dtype=torch.float64)
    return Request(list(prompt), sampling, uniforms)


class Decoder:
    """The requests under way and their cache. Not for use by two threads at once."""

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int = 0,
        prefill_tokens: int = 8192,
        log_probs: LogProbs = "processed_logprobs",
    ):
        """Args:
        model: a causal language model of transformers whose only state is keys and values.
        pad_id: what fills the left of shorter prompts; masked, so any token will do.
        prefill_tokens: padded prompt tokens read in one pass.
        log_probs: of which distribution.
        """
        self._model = model
        self._pad = pad_id
        self._prefill_tokens = prefill_tokens
        self._log_probs = log_probs
        self.running: list[Request] = []
        self._cache: Cache | None = None
        self._mask = torch.zeros(0, 0, dtype=torch.long)
        """(rows, cached tokens): 1 where a token is real."""

    @torch.inference_mode()
    def admit(self, requests: Sequence[Request]) -> list[Request]:
        """Read the prompts of `requests` and sample their first tokens; returns those that are done."""
        by_prompt: dict[tuple[int, ...], list[Request]] = {}
        for request in requests:
            by_prompt.setdefault(tuple(request.prompt), []).append(request)
        finished: list[Request] = []
        for prompts in _within(sorted(by_prompt, key=len), self._prefill_tokens):
            finished += self._prefill(prompts, [by_prompt[prompt] for prompt in prompts])
        return finished

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """Sample the next token of every running request; returns those that are done with it."""
        if not self.running:
            return []
        device = self._mask.device
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        output = self._model(
            input_ids=torch.tensor([[r.tokens[-1]] for r in self.running], device=device),
            attention_mask=self._mask,
            position_ids=self._mask.sum(-1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._sample(self.running, output.logits[:, -1])
        return self._leave()

    def drop_all(self) -> list[Request]:
        """Stop every running request where it is; returns them."""
        dropped, self.running = self.running, []
        self._cache = None
        return dropped

    def _prefill(self, prompts: Sequence[tuple[int, ...]], askers: Sequence[list[Request]]) -> list[Request]:
        """Read `prompts`, give each of its `askers` a row, and join them to the running batch."""
        device = self._model.device
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        cache = make_cache()
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        requests = [request for group in askers for request in group]
        rows = torch.tensor([row for row, group in enumerate(askers) for _ in group], device=device)
        self._sample(requests, output.logits[rows, -1])
        if len(rows) > len(prompts):
            cache.batch_select_indices(rows)
            mask = mask[rows]
        self._join(requests, cache, mask)
        return self._leave()

    def _join(self, requests: list[Request], cache: Cache, mask: torch.Tensor) -> None:
        """Put `requests` below the running batch, both padded on the left to the longer."""
        if self._cache is None or not self.running:
            self.running, self._cache, self._mask = requests, cache, mask
            return
        width = max(mask.shape[1], self._mask.shape[1])
        for mine, theirs in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([_pad_cache(mine.keys, width), _pad_cache(theirs.keys, width)])
            mine.values = torch.cat([_pad_cache(mine.values, width), _pad_cache(theirs.values, width)])
        self._mask = torch.cat([_pad_left(self._mask, width), _pad_left(mask, width)])
        self.running = self.running + requests

    def _sample(self, requests: Sequence[Request], logits: torch.Tensor) -> None:
        """Append one token, and its log-probability, to each of `requests`."""
        raw = logits.float()
        samplings = [request.sampling for request in requests]
        made = [len(request.tokens) for request in requests]
        seen = [
            request.prompt + request.tokens if request.sampling.repetition_penalty != 1.0 else ()
            for request in requests
        ]
        log_probs = process_logits(raw, samplings, seen, made).log_softmax(-1)
        uniform = torch.stack([r.uniforms[n] for r, n in zip(requests, made, strict=True)]).to(raw.device)
        greedy = torch.tensor([s.temperature == 0 for s in samplings], device=raw.device)
        tokens = pick(log_probs, uniform, greedy)
        if any(s.log_probs for s in samplings):
            of = log_probs if self._log_probs == "processed_logprobs" else raw.log_softmax(-1)
            chosen = of.gather(1, tokens[:, None])[:, 0].tolist()
        else:
            chosen = [0.0] * len(requests)
        for request, token, log_prob in zip(requests, tokens.tolist(), chosen, strict=True):
            request.tokens.append(token)
            if request.sampling.log_probs:
                request.log_probs.append(log_prob)

    def _leave(self) -> list[Request]:
        """Take the requests that are done out of the batch, and padding that no row needs."""
        finished = [request for request in self.running if request.done]
        if not finished:
            return []
        stay = [row for row, request in enumerate(self.running) if not request.done]
        self.running = [self.running[row] for row in stay]
        if not stay:
            self._cache = None
            return finished
        rows = torch.tensor(stay, device=self._mask.device)
        self._mask = self._mask[rows]
        idle = int((self._mask.cumsum(-1) == 0).all(0).sum())
        self._mask = self._mask[:, idle:]
        assert self._cache is not None
        for layer in self._cache.layers:
            layer.keys = layer.keys[rows, :, idle:]
            layer.values = layer.values[rows, :, idle:]
        return finished


def _within(prompts: Sequence[tuple[int, ...]], tokens: int) -> list[list[tuple[int, ...]]]:
    """`prompts`, shortest first, cut into runs of at most `tokens` padded tokens (one prompt at least)."""
    runs: list[list[tuple[int, ...]]] = []
    for prompt in prompts:
        if runs and (len(runs[-1]) + 1) * len(prompt) <= tokens:
            runs[-1].append(prompt)
        else:
            runs.append([prompt])
    return runs


def _pad_left(mask: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))


def _pad_cache(states: torch.Tensor, width: int) -> torch.Tensor:
    """(rows, heads, tokens, size) padded on the left of its tokens."""
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
