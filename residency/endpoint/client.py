"""Asks a server, and asks it again when it was busy, broken or away."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from residency.endpoint import replies
from residency.endpoint.errors import (
    BadKey,
    GaveUp,
    NeverThere,
    NoModel,
    Refused,
    TooLong,
    Trouble,
    is_too_long,
)
from residency.endpoint.replies import Reply
from residency.endpoint.settings import Endpoint
from residency.serving import is_loopback

R = TypeVar("R")

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Answers after which the same request may succeed."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the first further try, doubled for each next one."""
LONGEST_WAIT = 600.0
"""The most that a server's Retry-After is heeded for."""
CONNECT_SECONDS = 10.0
_CUT = ("aborted", "reset", "RemoteDisconnected", "IncompleteRead", "Broken")
"""What requests says of a connection that stood and broke."""
SLOW_RETRIES = 2
"""Further tries of a request that ran out of time: each has cost the whole time."""
FIRST_RETRIES = 2
"""Further tries of the first look at a server that does not answer at all."""


class Client:
    """One server. Safe to be used from many threads at once."""

    def __init__(
        self, endpoint: Endpoint, key: str | None = None, *, sleep: Callable[[float], object] | None = None
    ) -> None:
        """Set it up.

        Args:
            endpoint: Where and how.
            key: The key itself, sent as `Authorization: Bearer …`; never shown.
            sleep: Waits so many seconds; replaced in tests.
        """
        self.endpoint = endpoint
        self.retried = 0
        """Requests that were sent again."""
        self.answered = 0
        """Requests that were answered well."""
        self.stopped = threading.Event()
        """Set to end every wait: a retry that is due is not made."""
        self._key = key
        self._sleep = self.stopped.wait if sleep is None else sleep
        self._local = threading.local()
        self._lock = threading.Lock()
        self._not_before = 0.0

    def about(self) -> dict[str, Any]:
        """The server's list of models, as GET /models gives it; {} where it has none.

        Raises:
            NeverThere: Nothing answers.
            BadKey: The key is not taken.
        """
        try:
            return self._ask("GET", "/models", None, dict, retries=FIRST_RETRIES)
        except (Refused, GaveUp):
            return {}  # many servers lack it; what matters is whether they answer

    def version(self) -> str | None:
        """The server's version where it says one (vLLM's and ours: GET /version beside /v1)."""
        root = self.endpoint.base.removesuffix("/v1")
        try:
            answer = self._session().get(f"{root}/version", timeout=CONNECT_SECONDS, allow_redirects=False)
            found = answer.json().get("version") if answer.status_code == 200 else None
        except (requests.RequestException, ValueError, AttributeError):
            return None
        return found if isinstance(found, str) else None

    def model(self, listed: Mapping[str, Any]) -> str:
        """The model to ask: the recipe's, else the only one in the server's list.

        Raises:
            NoModel: The recipe names none, and the server has none or several.
        """
        if self.endpoint.model:
            return self.endpoint.model
        names = model_names(listed)
        if len(names) == 1:
            return names[0]
        what = f"has {len(names)} models: {', '.join(names[:8])}" if names else "does not say which it has"
        raise NoModel(
            f"`endpoint:` names no model, and the server at {self.endpoint.shown} {what}",
            "add `model: NAME` to `endpoint:`",
        )

    def chat(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Reply:
        """One answer to messages. `settings`: model, max_tokens, temperature, stop, seed, …"""
        return self._ask("POST", "/chat/completions", {**settings, "messages": list(messages)}, replies.chat)

    def complete(self, prompt: str | Sequence[int], settings: Mapping[str, Any]) -> Reply:
        """What comes after a prompt, given as text or as its tokens."""
        body = {**settings, "prompt": prompt if isinstance(prompt, str) else list(prompt)}
        return self._ask("POST", "/completions", body, replies.completion)

    def weigh(self, tokens: Sequence[int], last: int, settings: Mapping[str, Any]) -> tuple[float, bool]:
        """The log-likelihood of the `last` tokens given those before, and whether they are the likeliest."""
        body = {
            **settings,
            "prompt": list(tokens),
            "echo": True,
            "logprobs": 1,
            "max_tokens": 1,
            "temperature": 0.0,
        }
        return self._ask(
            "POST", "/completions", body, lambda found: replies.likelihood(found, len(tokens), last)
        )

    # ---- one request

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        understand: Callable[[dict[str, Any]], R],
        *,
        retries: int | None = None,
    ) -> R:
        """One request, tried as often as it may be; `retries`: while nothing answers at all."""
        allowed = self.endpoint.retries
        tries = slow = 0
        while True:
            tries += 1
            try:
                result = understand(replies.read(self._once(method, path, body)))
            except Trouble as trouble:
                slow += trouble.slow
                most = allowed if retries is None or trouble.reached else min(allowed, retries)
                if tries > most or slow > min(allowed, SLOW_RETRIES) or self.stopped.is_set():
                    raise self._given_up(trouble, tries) from None
                self._pause(trouble.wait, tries)
                continue
            with self._lock:
                self.answered += 1
            return result

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """One try. Raises Trouble when the next may go better."""
        limit = self.endpoint.timeout
        wait = self._not_before - time.monotonic()
        if wait > 0:
            self._sleep(wait)
        try:
            answer = self._session().request(
                method,
                self.endpoint.base + path,
                json=body,
                timeout=(min(CONNECT_SECONDS, limit), limit),
                allow_redirects=False,  # the key is for this server alone
            )
            data = answer.content
        except requests.exceptions.ConnectTimeout:
            raise Trouble("it cannot be reached: no connection in time", reached=False) from None
        except requests.exceptions.Timeout:
            raise Trouble(f"it gave no answer within {limit:g} s", slow=True) from None
        except requests.exceptions.ConnectionError as error:
            cut = any(word in str(error) for word in _CUT)
            raise Trouble(f"it cannot be reached: {_why(error, cut)}", reached=cut) from None
        except requests.exceptions.RequestException as error:
            raise Trouble(f"the connection failed: {type(error).__name__}") from None
        if answer.status_code == 200:
            return data
        self._refused(answer, data)
        raise AssertionError

    def _refused(self, answer: requests.Response, data: bytes) -> None:
        """Raise what an answer other than 200 means."""
        status, said, where = answer.status_code, replies.message(data), self.endpoint.shown
        if status in (401, 403):
            name = self.endpoint.key_env
            if name and self._key:
                raise BadKey(
                    f"{where} does not take the key in {name} ({status}: {said})",
                    f"set {name} to a key that is valid there",
                )
            hint = (
                f"export {name}=…" if name else "name the variable that holds it: `key_env: OPENAI_API_KEY`"
            )
            raise BadKey(f"{where} wants a key ({status}: {said})", hint)
        whole = data[:4096].decode("utf-8", "replace")
        if status in (400, 413, 422) and is_too_long(whole):
            raise TooLong(said)
        if status == 429 and "insufficient_quota" in whole:
            raise Refused(f"{where}: the quota is used up: {said}")
        if status in AGAIN:
            wait = retry_after(answer.headers.get("Retry-After"))
            raise Trouble(f"it answered {status}: {said}", wait=wait)
        raise Refused(f"{where} answered {status}: {said}", _refusal_hint(status))

    def _given_up(self, trouble: Trouble, tries: int) -> GaveUp | NeverThere:
        where = self.endpoint.shown
        if not trouble.reached and not self.answered:
            return NeverThere(
                f"nothing answers at {where}: {trouble}", "start the server, or mend `endpoint.url`"
            )
        times = f"{tries} times" if tries > 1 else "once"
        return GaveUp(f"{where} was asked {times}: {trouble}")

    def _pause(self, asked_for: float | None, tries: int) -> None:
        with self._lock:
            self.retried += 1
        if asked_for:
            # Whoever comes next would be sent away too.
            wait = min(asked_for, LONGEST_WAIT)
            self._not_before = max(self._not_before, time.monotonic() + wait)
        else:
            wait = min(FIRST_PAUSE * 2 ** (tries - 1), LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        self._sleep(wait)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # Never by a proxy to this machine itself.
            session.trust_env = not is_loopback(urlsplit(self.endpoint.base).hostname or "")
            # Not a header: requests would let a .netrc overrule it.
            session.auth = _Bearer(self._key)
            self._local.session = session
        return session


class _Bearer(requests.auth.AuthBase):
    """The key as a header, where there is one."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def model_names(listed: Mapping[str, Any]) -> list[str]:
    """The names in a server's list of models."""
    rows = listed.get("data")
    rows = rows if isinstance(rows, list) else []
    return [str(row["id"]) for row in rows if isinstance(row, Mapping) and row.get("id")]


def context_of(listed: Mapping[str, Any], model: str) -> int | None:
    """The context in tokens that a server's list of models states of one of them."""
    rows = listed.get("data")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and row.get("id") == model:
            for key in ("max_model_len", "context_length", "max_context_length", "context_window"):
                value = row.get(key)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
    return None


def owner_of(listed: Mapping[str, Any], model: str) -> str | None:
    """Who serves the model, as the server's list says: `vllm`, `openai`."""
    rows = listed.get("data")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and row.get("id") == model and isinstance(row.get("owned_by"), str):
            return str(row["owned_by"])
    return None


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None where it says nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
            seconds = when.timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return None
    return seconds if 0 < seconds < float("inf") else None


def _refusal_hint(status: int) -> str | None:
    if status == 404:
        return "mend `endpoint.model` or `endpoint.url`; `curl URL/v1/models` lists what is there"
    if 300 <= status < 400:
        return "give `endpoint.url` as the address that it leads to"
    return None


def _why(error: BaseException, cut: bool) -> str:
    text = str(error)
    if cut:
        return "the connection was cut"
    if "refused" in text:
        return "the connection was refused"
    if "resolve" in text or "Name or service" in text or "getaddrinfo" in text:
        return "its name is not known"
    return "its certificate is not valid" if "CERTIFICATE" in text else "no connection"
