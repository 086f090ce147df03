"""The rollout server: an actor that answers token requests with one transformers model."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from residency.engines.verl.driver.decoding import Decoder, LogProbs, Request, make_request
from residency.engines.verl.driver.sampling import read_sampling
from residency.engines.verl.driver.weights import Packed, Receiver
from residency.inference.attention import register as attention_name

_GATHER_SECONDS = 0.02
"""An idle server starts when no request has come for so long: a group's requests come together,
and one that comes late costs the batch a pass of its own."""
_GATHER_AT_MOST = 0.2
_PATIENCE = 2.0
"""Of requests that were announced, the next is waited for so long: batches of one make-up every
time are what makes a resumed training the same to the last bit."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server needs of verl's configuration."""

    model: str
    """The checkpoint's folder."""
    device: str
    """`cpu` or `cuda`."""
    dtype: str
    """`bfloat16`, `float16` or `float32`: `rollout.dtype`."""
    from_training: bool
    """True: weights come from the training worker (`rollout.load_format: dummy`), none are read."""
    prompt_length: int
    response_length: int
    max_model_len: int | None = None
    max_num_seqs: int = 256
    prefill_tokens: int = 8192
    seed: int = 42
    ignore_eos: bool = False
    frees_memory: bool = True
    """`rollout.free_cache_engine`: asleep, the server holds no weights."""
    log_probs: LogProbs = "processed_logprobs"
    trust_remote_code: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """`model.override_config`."""
    visible_devices: str | None = None


def load_model(settings: ServerSettings) -> tuple[Any, Receiver, frozenset[int]]:
    """The model, what takes its weights, and its end-of-sequence tokens.

    With `from_training` the parameters are allocated and never touched: the first weights
    replace them.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.initialization import no_init_weights

    overrides = dict(settings.overrides)
    attention = overrides.pop("attn_implementation", None)
    trust = {"trust_remote_code": settings.trust_remote_code}
    config = AutoConfig.from_pretrained(settings.model, **trust, **overrides)
    how: dict[str, Any] = {
        "dtype": getattr(torch, settings.dtype),
        "attn_implementation": attention if attention == "eager" else "sdpa",
        **trust,
    }
    if settings.from_training:
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config, **how)
    else:
        model = AutoModelForCausalLM.from_pretrained(settings.model, config=config, **how)
    model = model.to(settings.device).eval().requires_grad_(False)
    if attention != "eager":  # transformers has seen to it that the model can do with `sdpa`
        model.set_attn_implementation(attention_name())
    model.tie_weights()
    receiver = Receiver(model, loaded=not settings.from_training)
    try:
        ends = GenerationConfig.from_pretrained(settings.model).eos_token_id
    except OSError:
        ends = config.get_text_config().eos_token_id
    stop_ids = set(ends if isinstance(ends, (list, tuple)) else [ends])
    stop_ids.add(AutoTokenizer.from_pretrained(settings.model, **trust).eos_token_id)
    return model, receiver, frozenset(int(i) for i in stop_ids if i is not None)


class Server:
    """Answers requests in batches. Its methods are called by verl: agent loops, replica, worker."""

    def __init__(self, settings: ServerSettings, replica: int = 0):
        if settings.visible_devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = settings.visible_devices
        self._settings = settings
        self._replica = replica
        self._model, self._receiver, self._stop_ids = load_model(settings)
        self._decoder = Decoder(
            self._model, prefill_tokens=settings.prefill_tokens, log_probs=settings.log_probs
        )
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._context = min(settings.max_model_len or limit or 1 << 30, limit or 1 << 30)
        self._waiting: list[tuple[Request, asyncio.Future[None]]] = []
        self._answers: dict[Request, asyncio.Future[None]] = {}
        self._arrivals = 0
        self._announced = 0
        self._serving: asyncio.Task[None] | None = None
        self._model_lock = threading.Lock()
        """Held while a token is computed and while weights change."""
        self._open: asyncio.Event | None = None
        self._rejecting = False
        self._steps: int | None = None
        self._asked: Counter[tuple[int, ...]] = Counter()

    async def ready(self) -> str:
        """The name under which the load balancer knows this server."""
        return f"transformers-{self._replica}"

    async def generate(
        self,
        prompt_ids: Sequence[int],
        sampling_params: Mapping[str, Any],
        request_id: str,
        image_data: Any = None,
        video_data: Any = None,
        audio_data: Any = None,
        mm_processor_kwargs: Any = None,
        priority: int = 0,
        **unknown: Any,
    ) -> Any:
        """Answer one prompt: tokens in, tokens out.

        Returns:
            verl's TokenOutput. `stop_reason` is `completed`, or `aborted` with the tokens so far.

        Raises:
            ValueError: the prompt fills the context, or asks for something that is not here.
        """
        if image_data or video_data or audio_data:
            raise ValueError("the transformers rollout takes text alone")
        prompt = [int(token) for token in prompt_ids]
        settings = self._settings
        room = self._context - len(prompt)
        if not prompt or room < 1:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens leaves no room to answer in a context of {self._context}"
            )
        gate = self._gate()
        while not gate.is_set():
            if self._rejecting:
                return self._output(None, aborted=True)
            await gate.wait()
        sampling = read_sampling(
            sampling_params,
            stop_ids=frozenset() if settings.ignore_eos else self._stop_ids,
            default_tokens=min(
                settings.response_length, settings.prompt_length + settings.response_length - len(prompt)
            ),
            most_tokens=room,
        )
        key = tuple(prompt)
        seed = (settings.seed, self._steps or 0, self._asked[key])
        self._asked[key] += 1
        request = make_request(prompt, sampling, seed=seed)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answered))
        self._arrivals += 1
        self._announced = max(0, self._announced - 1)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        await answered
        return self._output(request, aborted=not request.done)

    def _output(self, request: Request | None, *, aborted: bool) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        wanted = request is not None and request.sampling.log_probs
        return TokenOutput(
            token_ids=request.tokens if request else [],
            log_probs=request.log_probs if request and wanted else None,
            stop_reason="aborted" if aborted else "completed",
            extra_fields={"global_steps": self._steps},
        )

    async def announce(self, requests: int) -> None:
        """So many requests are about to come: they are begun together."""
        self._announced = requests

    async def _gather(self) -> None:
        """Wait for the requests that come together with the first."""
        most = _PATIENCE if self._announced else _GATHER_SECONDS
        announced, waited, idle = bool(self._announced), 0.0, 0.0
        while idle < most and (self._announced if announced else waited < _GATHER_AT_MOST):
            seen = self._arrivals
            await asyncio.sleep(_GATHER_SECONDS)
            waited += _GATHER_SECONDS
            idle = idle + _GATHER_SECONDS if self._arrivals == seen else 0.0
        self._announced = 0
        self._waiting.sort(key=lambda item: (len(item[0].prompt), item[0].prompt, item[0].uniforms[0].item()))

    async def _serve(self) -> None:
        """Decode until nobody waits."""
        await self._gather()
        while self._waiting or self._answers:
            room = self._settings.max_num_seqs - len(self._answers)
            joining, self._waiting = self._waiting[:room], self._waiting[room:]
            self._answers.update(joining)
            try:
                finished = await asyncio.to_thread(self._advance, [request for request, _ in joining])
            except Exception as error:  # whatever it is, those who wait must hear of it
                for answered in self._answers.values():
                    if not answered.done():
                        answered.set_exception(error)
                self._answers.clear()
                self._decoder.drop_all()
                continue
            for request in finished:
                answered = self._answers.pop(request)
                if not answered.done():
                    answered.set_result(None)

    def _advance(self, joining: list[Request]) -> list[Request]:
        """Let requests join, or move every request on by one token; returns those that end."""
        with self._model_lock:
            self._receiver.require()
            return self._decoder.admit(joining) if joining else self._decoder.step()

    # ------------------------------------------------------------ what verl asks of every server

    def _gate(self) -> asyncio.Event:
        if self._open is None:  # an event belongs to the loop that it is first used in
            self._open = asyncio.Event()
            self._open.set()
        return self._open

    async def abort_all_requests(self, reject_request: bool = False, **_: Any) -> dict[str, Any]:
        """End every request with what it has; later ones wait for `resume_generation`, or are rejected."""
        self._gate().clear()
        self._rejecting = reject_request
        waiting, self._waiting = self._waiting, []
        while True:  # let the token under way be finished
            if self._model_lock.acquire(blocking=False):
                break
            await asyncio.sleep(0.001)
        try:
            self._decoder.drop_all()
            running, self._answers = self._answers, {}
        finally:
            self._model_lock.release()
        for answered in [*running.values(), *(answered for _, answered in waiting)]:
            if not answered.done():
                answered.set_result(None)
        return {"aborted_count": len(waiting) + len(running), "request_ids": []}

    async def resume_generation(self) -> None:
        """Take requests again."""
        self._rejecting = False
        self._gate().set()

    async def load_weights(self, bucket: list[Packed]) -> None:
        """Take some of the policy's weights."""
        await asyncio.to_thread(self._with_lock, self._receiver.load, bucket)

    async def weights_complete(self, global_steps: int | None) -> None:
        """All weights of a step have been sent.

        Raises:
            RuntimeError: some have not.
        """
        self._receiver.require()
        await self.set_global_steps(global_steps)

    def _with_lock(self, act: Any, *args: Any) -> None:
        with self._model_lock:
            act(*args)

    async def set_global_steps(self, global_steps: int | None) -> None:
        """Name the step whose weights are held; random numbers follow from it."""
        self._steps = global_steps
        self._asked.clear()

    async def sleep(self) -> None:
        """Free the memory of the weights, which come anew before the next request."""
        if self._settings.frees_memory and self._settings.from_training:
            await asyncio.to_thread(self._with_lock, self._receiver.release)
            if self._settings.device == "cuda":
                torch.cuda.empty_cache()

    async def wake_up(self, tags: list[str] | None = None) -> None:
        """Nothing to do: the weights are about to be sent."""

    async def clear_kv_cache(self) -> None:
        """Nothing to do: no cache outlives its requests."""

    async def release_kv_cache(self) -> None:
        """Nothing to do: no cache outlives its requests."""

    async def resume_kv_cache(self) -> None:
        """Nothing to do: no cache outlives its requests."""

    async def start_profile(self, **_: Any) -> None:
        """This server has no profiler."""

    async def stop_profile(self) -> None:
        """This server has no profiler."""
