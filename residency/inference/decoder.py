"""Decoding of many requests with one transformers model, which join and leave between two tokens.

Prompts are read in batches that are padded on the right, where no token looks; then each has a row of
the cache, its tokens at the positions that they would have alone. What a request is answered does
not depend on the others but for the rounding of sums, which in float32 turns no answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from residency.inference.sampling import Sampling, pick, process_logits
from residency.inference.slots import Slots, prompt_cache

_LOGITS = 32 << 20
"""Logits of one pass over a prompt whose every token is scored: 128 MB in float32."""

Top = list[tuple[int, float]]
"""The likeliest tokens with their log-probabilities, likeliest first."""


@dataclass(slots=True, eq=False)
class Request:
    """One answer under way."""

    prompt: list[int]
    sampling: Sampling
    uniforms: Numbers
    """The random numbers of its tokens."""
    top: int | None = None
    """So many of the likeliest tokens are told at each place, with the log-probability of the token
    that stands there; None: nothing is."""
    score_prompt: bool = False
    """Whether they are told for the prompt's tokens too."""
    ended: bool = False
    """Set from outside: a stop text has come, or nobody waits."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)
    prompt_log_probs: list[float] = field(default_factory=list)
    """Of the prompt's tokens but the first."""
    prompt_tops: list[Top] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether the last token is one that ends the answer."""
        return bool(self.tokens) and self.tokens[-1] in self.sampling.stop_ids

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return self.ended or self.stopped or len(self.tokens) >= self.sampling.max_tokens

    @property
    def held(self) -> list[int]:
        """What its row holds, or will when it joins: of one that was put back the answer so far too."""
        return [*self.prompt, *self.tokens]

    @property
    def length(self) -> int:
        """Tokens of prompt and answer so far."""
        return len(self.prompt) + len(self.tokens)

    @property
    def longest(self) -> int:
        """Tokens of prompt and answer at most."""
        return len(self.prompt) + self.sampling.max_tokens


class Numbers:
    """Random numbers in [0, 1), by place: the same for the same prompt and seed, whoever else is asked."""

    _CHUNK = 64

    def __init__(self, prompt: Sequence[int], *seed: int) -> None:
        """None is made before it is needed."""
        text = repr((seed, list(prompt)))
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
        self._number = number
        self._made: list[float] = []
        self._generator: torch.Generator | None = None

    def __getitem__(self, at: int) -> float:
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self._number)
        while at >= len(self._made):
            more = torch.rand(self._CHUNK, generator=self._generator, dtype=torch.float64)
            self._made += more.tolist()
        return self._made[at]


class Decoder:
    """The requests under way and their rows of the cache. Not for use by two threads at once."""

    def __init__(self, model: Any, *, prefill_tokens: int = 4096) -> None:
        """Args:
        model: A causal language model of transformers whose only state is keys and values.
        prefill_tokens: Padded prompt tokens that are read in one pass.
        """
        self._model = model
        self._device = model.device
        self._prefill_tokens = prefill_tokens
        self._slots = Slots(self._device)
        self._windows = Windows(model.config.get_text_config(), model.dtype)
        self.running: list[Request] = []

    @torch.inference_mode()
    def admit(self, requests: Sequence[Request]) -> list[Request]:
        """Read the prompts and sample the first tokens; returns the requests that are done with it."""
        by_prompt: dict[tuple[int, ...], list[Request]] = {}
        for request in requests:
            by_prompt.setdefault(tuple(request.held), []).append(request)
        scored = [p for p, askers in by_prompt.items() if any(_unscored(r) for r in askers)]
        plain = [p for p in by_prompt if p not in set(scored)]
        for prompts in _within(plain, self._prefill_tokens):
            self._join([by_prompt[p] for p in prompts], *self._read(prompts))
        for prompts in _within(scored, self._prefill_tokens):
            askers = [by_prompt[p] for p in prompts]
            self._join(askers, *self._read_scored(prompts, askers))
        return self.leave()

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """Sample the next token of every request; returns those that are done with it."""
        if self.running:
            cache, places, seen = self._slots.begin()
            output = self._model(
                input_ids=torch.tensor([[r.tokens[-1]] for r in self.running], device=self._device),
                attention_mask=self._windows.masks(seen, places),
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            )
            self._slots.end()
            self._sample(self.running, output.logits[:, -1])
        return self.leave()

    def leave(self) -> list[Request]:
        """Free the rows of the requests that are done; returns those."""
        rows = [row for row, request in enumerate(self.running) if request.done]
        finished = [self.running[row] for row in rows]
        if rows:
            order = self._slots.remove(rows)
            self.running = [self.running[row] for row in order]
        return finished

    def put_back(self, request: Request) -> None:
        """Free the row of a request that is not done; it may join again, and goes on where it was."""
        row = self.running.index(request)
        order = self._slots.remove([row])
        self.running = [self.running[at] for at in order]

    def drop_all(self) -> list[Request]:
        """Stop every request where it is; returns them."""
        dropped, self.running = self.running, []
        self._slots.clear()
        return dropped

    # ---- prompts

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Any, torch.Tensor]:
        """The cache of `prompts`, and the logits after each: (prompts, vocabulary)."""
        ids = self._padded(prompts)
        lasts = [len(prompt) - 1 for prompt in prompts]
        wanted = sorted(set(lasts))
        cache = prompt_cache()
        output = self._model(
            input_ids=ids,
            position_ids=torch.arange(ids.shape[1], device=self._device)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(wanted, device=self._device),
        )
        at = torch.tensor([wanted.index(last) for last in lasts], device=self._device)
        return cache, output.logits[torch.arange(len(prompts), device=self._device), at]

    def _read_scored(
        self, prompts: Sequence[tuple[int, ...]], askers: Sequence[list[Request]]
    ) -> tuple[Any, torch.Tensor]:
        """The same, and every token of the prompts scored; read in parts, for the logits' sake."""
        ids = self._padded(prompts)
        rows, width = ids.shape
        vocabulary = self._model.config.get_text_config().vocab_size
        part = max(8, _LOGITS // (rows * vocabulary))
        top = max((r.top or 0 for group in askers for r in group), default=0)
        cache = prompt_cache()
        after: list[Any] = [None] * rows
        for start in range(0, width, part):
            end = min(width, start + part)
            places = torch.arange(start, end, device=self._device)
            seen = torch.arange(end, device=self._device)[None, :] <= places[:, None]
            output = self._model(
                input_ids=ids[:, start:end],
                attention_mask=self._windows.masks(seen[None, None].expand(rows, 1, -1, -1), places[None]),
                position_ids=places[None],
                past_key_values=cache,
                use_cache=True,
            )
            log_probs = output.logits.float().log_softmax(-1)
            best = log_probs.topk(max(1, top), dim=-1)
            following = ids[:, start + 1 : end + 1]
            chosen = log_probs[:, : following.shape[1]].gather(2, following[:, :, None])[:, :, 0].tolist()
            values, tokens = best.values.tolist(), best.indices.tolist()
            for row, prompt in enumerate(prompts):
                if start < len(prompt) <= end:
                    after[row] = output.logits[row, len(prompt) - 1 - start].clone()
                for at in range(start, min(end, len(prompt) - 1)):
                    here = list(zip(tokens[row][at - start], values[row][at - start], strict=True))
                    for request in askers[row]:
                        if _unscored(request):
                            request.prompt_log_probs.append(chosen[row][at - start])
                            request.prompt_tops.append(here[: request.top or 0])
        return cache, torch.stack(after)

    def _padded(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        width = max(map(len, prompts))
        return torch.tensor([[*p, *[0] * (width - len(p))] for p in prompts], device=self._device)

    def _join(self, askers: Sequence[list[Request]], cache: Any, logits: torch.Tensor) -> None:
        rows = [row for row, group in enumerate(askers) for _ in group]
        requests = [request for group in askers for request in group]
        self._slots.add(cache, rows, [request.length for request in requests])
        self.running += requests
        self._sample(requests, logits[torch.tensor(rows, device=self._device)])

    # ---- tokens

    def _sample(self, requests: Sequence[Request], logits: torch.Tensor) -> None:
        """Append one token, and what is told of it, to each of `requests`."""
        samplings = [request.sampling for request in requests]
        if all(_plain(request) for request in requests):
            tokens = logits.argmax(-1)
        else:
            raw = logits.float()
            made = [len(request.tokens) for request in requests]
            seen = [r.prompt + r.tokens if r.sampling.repetition_penalty != 1.0 else () for r in requests]
            log_probs = process_logits(raw, samplings, seen, made).log_softmax(-1)
            numbers = torch.tensor(
                [r.uniforms[n] for r, n in zip(requests, made, strict=True)],
                dtype=torch.float64,
                device=raw.device,
            )
            greedy = torch.tensor([s.temperature == 0 for s in samplings], device=raw.device)
            tokens = pick(log_probs, numbers, greedy)
            self._tell(requests, raw, tokens)
        for request, token in zip(requests, tokens.tolist(), strict=True):
            request.tokens.append(token)

    def _tell(self, requests: Sequence[Request], raw: torch.Tensor, tokens: torch.Tensor) -> None:
        """Note the model's own log-probabilities, before temperature and filters."""
        rows = [row for row, request in enumerate(requests) if request.top is not None]
        if not rows:
            return
        index = torch.tensor(rows, device=raw.device)
        log_probs = raw[index].log_softmax(-1)
        chosen = log_probs.gather(1, tokens[index][:, None])[:, 0].tolist()
        best = log_probs.topk(max(1, *(requests[row].top or 0 for row in rows)), dim=-1)
        likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        for row, log_prob, (ids, values) in zip(rows, chosen, likeliest, strict=True):
            requests[row].log_probs.append(log_prob)
            requests[row].tops.append(list(zip(ids, values, strict=True))[: requests[row].top or 0])


def _plain(request: Request) -> bool:
    """Whether the likeliest token is taken, and nothing else asked."""
    sampling = request.sampling
    return (
        sampling.temperature == 0
        and request.top is None
        and sampling.repetition_penalty == 1.0
        and len(request.tokens) >= sampling.min_tokens
    )


def _unscored(request: Request) -> bool:
    """Whether its prompt is still to be scored: one that was put back has been."""
    return request.score_prompt and not request.tokens


class Windows:
    """The masks of a model whose layers look back over all tokens, or over a window."""

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        """Args:
        config: The text model's configuration.
        dtype: The model's number format.
        """
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)
        if getattr(config, "use_sliding_window", True) is False:
            window = None
        self._window: int | None = int(window) if window else None
        self._kinds = sorted(kinds)
        self._dtype = dtype

    def masks(self, seen: torch.Tensor, places: torch.Tensor) -> Any:
        """What the model takes as `attention_mask`: 0 where a token may look, else −inf.

        Each layer would make these numbers of true and false again.

        Args:
            seen: (rows, 1, tokens, width), true where a token may look.
            places: (rows or 1, tokens), the tokens' places.
        """
        far = self._added(seen)
        if self._window is None or (self._kinds and "sliding_attention" not in self._kinds):
            return far if len(self._kinds) < 2 else dict.fromkeys(self._kinds, far)
        width = torch.arange(seen.shape[-1], device=seen.device)
        near = self._added(seen & (width > places[:, None, :, None] - self._window))
        if len(self._kinds) < 2:
            return near
        return {kind: near if kind == "sliding_attention" else far for kind in self._kinds}

    def _added(self, seen: torch.Tensor) -> torch.Tensor:
        """What is added to the attention's scores."""
        return torch.zeros(seen.shape, dtype=self._dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def _within(prompts: Sequence[tuple[int, ...]], tokens: int) -> list[list[tuple[int, ...]]]:
    """`prompts`, shortest first, cut into runs of at most `tokens` padded tokens (one prompt at least)."""
    runs: list[list[tuple[int, ...]]] = []
    for prompt in sorted(prompts, key=len):
        if runs and (len(runs[-1]) + 1) * len(prompt) <= tokens:
            runs[-1].append(prompt)
        else:
            runs.append([prompt])
    return runs
