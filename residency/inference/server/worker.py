"""The thread that decodes: it takes what waits at each token, and tells what has become of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from residency.inference.decoder import Decoder, Request
from residency.inference.text import Text


class Full(Exception):
    """More answers wait than may."""


class Stopped(Exception):
    """The server is stopping."""


@dataclass(slots=True, eq=False)
class Answer:
    """One answer of a request, as the thread makes it."""

    request: Request
    text: Text
    follows: bool
    """Whether the text is wanted token by token: it is streamed, or may hold a stop text."""
    news: asyncio.Event
    """Set in the event loop when there is more, once for all answers of a request."""
    shown: str = ""
    """What may be sent."""
    finish: str | None = None
    """`stop` or `length`, once it is finished."""
    error: Exception | None = None
    counted: int = 0
    """Tokens that the text has been told of."""
    began: float | None = None
    """When its first token came, by `time.monotonic`."""
    arrived: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.finish is not None or self.error is not None


class Worker:
    """The queue and its thread. `submit` and `drop` belong to one event loop."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        batch: int,
        queue: int,
        cached: int,
        prefill_tokens: int,
        observe: Callable[[int, int], None] = lambda rows, tokens: None,
    ) -> None:
        """Make a worker; `start` starts its thread.

        Args:
            decoder: Makes the tokens.
            batch: Answers under way at most.
            queue: Answers that may wait.
            cached: Rows times the longest row's tokens at most.
            prefill_tokens: Prompt tokens that join between two tokens.
            observe: Told after each pass: answers under way, tokens made.
        """
        self._decoder = decoder
        self._batch = batch
        self._limit = queue
        self._cached = cached
        self._prefill_tokens = prefill_tokens
        self._observe = observe
        self._waiting: deque[Answer] = deque()
        self._running: dict[Request, Answer] = {}
        self._news = threading.Condition()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)

    @property
    def waiting(self) -> int:
        """Answers in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Answers under way."""
        return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Give up what is under way, and end the thread."""
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(self, answers: Sequence[Answer]) -> None:
        """Queue the answers of a request.

        Raises:
            Full: too many wait.
            Stopped: the server is stopping.
        """
        with self._news:
            if self._stopping:
                raise Stopped
            # A request that is larger than the whole queue is taken when nothing else waits.
            if self._waiting and len(self._waiting) + len(answers) > self._limit:
                raise Full
            self._waiting.extend(answers)
            self._news.notify()

    def drop(self, answers: Sequence[Answer]) -> None:
        """Nobody waits for these any more: their rows are freed at the next token."""
        for answer in answers:
            answer.request.ended = True

    # ---- the thread

    def _work(self) -> None:
        while True:
            joining = self._take()
            if joining is None:
                self._give_up(Stopped())
                return
            self._running.update((answer.request, answer) for answer in joining)
            try:
                finished = self._decoder.admit([a.request for a in joining]) if joining else []
                if not joining or len(self._running) > len(joining):
                    finished += self._decoder.step()
                self._read(finished)
            except Exception as error:  # whatever it is, those who wait must hear of it
                print(f"generation failed: {type(error).__name__}: {error}", flush=True)
                self._decoder.drop_all()
                lost, self._running = list(self._running.values()), {}
                self._tell(lost, error)

    def _take(self) -> list[Answer] | None:
        """The answers that join now; None at the end."""
        with self._news:
            while not self._waiting and not self._running:
                if self._stopping:
                    return None
                self._news.wait()
            if self._stopping:
                return None
            joining: list[Answer] = []
            longest = max((request.longest for request in self._running), default=0)
            tokens = 0
            while self._waiting:
                request = self._waiting[0].request
                rows = len(self._running) + len(joining) + 1
                if not request.ended:
                    longest = max(longest, request.longest)
                    tokens += len(request.prompt)
                    full = rows > self._batch or rows * longest > self._cached
                    if rows > 1 and (full or (joining and tokens > self._prefill_tokens)):
                        break
                joining.append(self._waiting.popleft())
            gone = [answer for answer in joining if answer.request.ended]
            return [answer for answer in joining if answer not in gone]

    def _read(self, finished: Sequence[Request]) -> None:
        """Turn new tokens into text, end answers at a stop text, and tell who waits."""
        told: list[Answer] = []
        made = 0
        for request, answer in self._running.items():
            new = request.tokens[answer.counted :]
            made += len(new)
            answer.counted += len(new)
            if answer.began is None:
                answer.began = time.monotonic()
            if answer.follows and new and not request.ended:
                answer.text.push(new[:-1] if request.stopped else new)
                if answer.text.stopped:
                    request.ended = True
                if answer.text.shown != answer.shown:
                    answer.shown = answer.text.shown
                    told.append(answer)
        rows = len(self._running)
        over = [*finished, *self._decoder.leave()]
        for request in over:
            answer = self._running.pop(request)
            _finish(answer)
            told.append(answer)
        self._observe(rows, made)
        self._tell(told)

    def _tell(self, answers: Sequence[Answer], error: Exception | None = None) -> None:
        if error is not None:
            for answer in answers:
                answer.error = error
        events = {answer.news for answer in answers}
        if events and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: [event.set() for event in events])

    def _give_up(self, error: Exception) -> None:
        self._decoder.drop_all()
        with self._news:
            lost = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._tell(lost, error)


def _finish(answer: Answer) -> None:
    """The whole text of an answer that has ended, and why it has."""
    request, text = answer.request, answer.text
    if not text.stopped:
        kept = request.tokens[:-1] if request.stopped else request.tokens
        text.push([] if answer.follows else kept, last=True)
    answer.shown = text.text
    answer.finish = "stop" if request.stopped or text.stopped else "length"


def make_answers(
    tokenizer: Any, requests: Sequence[Request], stops: Sequence[str], *, stream: bool, skip: bool
) -> list[Answer]:
    """The answers of one request, with one event for all."""
    news = asyncio.Event()
    return [
        Answer(
            request,
            Text(tokenizer, request.prompt, stops, skip_special_tokens=skip),
            follows=stream or bool(stops),
            news=news,
        )
        for request in requests
    ]
