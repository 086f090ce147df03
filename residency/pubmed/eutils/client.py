"""One request to the E-utilities, asked again until its answer is sound.

Requests go by POST, so that neither a long query nor the key stands in an address. The key is read
from the environment and is in no file, log or error: what a server says is shown without it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from residency import __version__
from residency.errors import Missing, ResidencyError
from residency.pubmed.eutils import CAP, DEFAULT_URL, replies
from residency.pubmed.eutils.limiter import WITH_KEY, WITHOUT_KEY, Limiter
from residency.pubmed.eutils.replies import Refused, Search, Unsound
from residency.sources.patience import RETRIED, Patience, reason, retry_after
from residency.sources.spec import loopback

KEY_VARIABLE = "NCBI_API_KEY"
URL_VARIABLE = "RESIDENCY_EUTILS_URL"
TRIES = 8
"""Attempts at a request: one of many, none of which may be lost."""
_LARGEST = 512 * 1024 * 1024
_T = TypeVar("_T")


class Unreachable(Missing):
    """A request failed as often as it may."""


@dataclass
class Client:
    """Asks one server. Threads may share it."""

    limits: Path
    """The folder of the limit that all processes keep."""
    url: str = ""
    """Where the programs lie; else `RESIDENCY_EUTILS_URL`, else NCBI."""
    email: str = ""
    """NCBI wants to know whom to write to before it blocks an address."""
    tool: str = "residency"
    patience: Patience = field(default_factory=lambda: Patience(tries=TRIES))
    per_second: float | None = None
    """Requests a second; None for what NCBI allows, with a key or without."""
    tell: Callable[[str], None] = lambda text: None
    requests: int = field(default=0, init=False)
    """Requests that were sent."""
    retried: int = field(default=0, init=False)
    """Of them those whose answer was of no use."""

    def __post_init__(self) -> None:
        self.url = (self.url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/") + "/"
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        allowed = WITH_KEY if self._key else WITHOUT_KEY
        self.limiter = Limiter(self.limits, self.host, bool(self._key), self.per_second or allowed)
        self._sessions = threading.local()
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """The server's name, with its port where it has one."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def workers(self) -> int:
        """How many requests may be under way at once, to use the limit though an answer takes long."""
        return 6 if self._key else 3

    def search(
        self,
        term: str,
        *,
        retstart: int = 0,
        retmax: int = CAP,
        sort: str = "",
        window: tuple[str, str] | None = None,
    ) -> Search:
        """What a query finds.

        Args:
            term: In PubMed's language.
            retstart: The first id to give; at most 9,998.
            retmax: How many; PubMed gives none beyond the 9,999th.
            sort: `relevance`, `pub_date`, …; else the newest first.
            window: Only records entered from the one day (YYYY/MM/DD) to the other.

        Raises:
            Missing: The server cannot be reached, or refuses the query.
        """
        asked: dict[str, Any] = {"term": term, "retmode": "json", "retstart": retstart, "retmax": retmax}
        if sort:
            asked["sort"] = sort
        if window:
            asked |= {"datetype": "edat", "mindate": window[0], "maxdate": window[1]}
        return self.ask("esearch", asked, lambda c: replies.search(c, retstart, retmax, CAP))

    def fetch(self, pmids: Iterable[int], tries: int | None = None) -> tuple[bytes, list[int]]:
        """The records as XML, as they came, and the PMIDs that are among them.

        Raises:
            Missing: The server cannot be reached, or refuses.
        """
        wanted = list(pmids)

        def check(content: bytes) -> tuple[bytes, list[int]]:
            got = replies.pmids(content)
            if got and not set(got) & set(wanted):
                raise Unsound("other records than those asked for")
            return content, got

        asked = {"id": ",".join(map(str, wanted)), "retmode": "xml"}
        return self.ask("efetch", asked, check, tries=tries)

    def ask(
        self,
        program: str,
        parameters: Mapping[str, Any],
        check: Callable[[bytes], _T],
        tries: int | None = None,
    ) -> _T:
        """Ask until `check` takes the answer. Raises Missing when it never does."""
        patience = self.patience
        tries = tries or patience.tries
        body = {"db": "pubmed", "tool": self.tool, **parameters}
        if self.email:
            body["email"] = self.email
        why = ""
        for attempt in range(1, tries + 1):
            self.limiter.wait()
            with self._lock:
                self.requests += 1
            after: float | None = None
            try:
                content, after = self._post(program, {**body, "api_key": self._key} if self._key else body)
                return check(content)
            except Refused as error:
                raise Missing(
                    f"{self.host} refuses the request: {self._clean(str(error))}",
                    "look at the query, the key (NCBI_API_KEY) and the address",
                ) from None
            except _Busy as error:
                why, after = self._clean(str(error)), error.after
            except Unsound as error:
                why = self._clean(str(error))
            with self._lock:
                self.retried += 1
            if after is not None:
                self.limiter.hold(after)
            if attempt < tries:
                wait = patience.pause(attempt) if after is None else 0.0
                self.tell(f"{program}: {why}; next attempt in {max(wait, after or 0):.1f} s")
                self.limiter.sleep(wait)
        raise Unreachable(
            f"{self.host} gave no sound answer to {program}: {why} ({tries} attempts)",
            "run the same command again later: what has arrived is kept",
        )

    def _post(self, program: str, body: Mapping[str, Any]) -> tuple[bytes, float | None]:
        """The answer's bytes. Raises _Busy, Unsound or Refused for a status other than 200."""
        import requests
        import urllib3

        try:
            with self._session().post(
                f"{self.url}{program}.fcgi",
                data=body,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect, self.patience.read),
            ) as response:
                content = self._read(response)
                status = response.status_code
                after = response.headers.get("Retry-After")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Unsound(reason(error)) from None
        if status in RETRIED:
            said = replies.error_text(content)
            raise _Busy(f"the server answered {status}" + (f": {said}" if said else ""), self._asked(after))
        if status == 400:
            said = replies.error_text(content)
            if program == "efetch" and "id list is empty" in said.lower():
                return b"<PubmedArticleSet/>", None  # none of these is a record
            if "retrieve" in said.lower():
                raise Unsound(f"the server answered 400: {said}")
        if status != 200:
            raise Refused(
                f"the server answered {status}" + (f": {replies.error_text(content)}" if content else "")
            )
        return content, None

    def _read(self, response: Any) -> bytes:
        """The whole body, within bounds of time and size."""
        until = time.monotonic() + self.patience.whole
        blocks, size = [], 0
        for block in response.iter_content(256 * 1024):
            blocks.append(block)
            size += len(block)
            if time.monotonic() > until:
                raise Unsound(f"the answer was not whole after {self.patience.whole:.0f} s")
            if size > _LARGEST:
                raise Unsound("the answer has no end")
        return b"".join(blocks)

    def _session(self) -> Any:
        """The thread's own."""
        import requests

        if not hasattr(self._sessions, "value"):
            session = requests.Session()
            session.headers["User-Agent"] = f"residency/{__version__}"
            # No proxy stands between this machine and itself.
            session.trust_env = not loopback(urlsplit(self.url).hostname or "")
            self._sessions.value = session
        return self._sessions.value

    def _asked(self, text: str | None) -> float | None:
        """The seconds that Retry-After asks for, or None."""
        seconds = retry_after(text)
        if seconds is not None and seconds > self.patience.longest_asked:
            raise Unreachable(
                f"{self.host} is busy and asks to be left alone for {seconds:.0f} s",
                "run the same command again after that: what has arrived is kept",
            )
        return seconds

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class _Busy(Exception):
    """The server cannot answer now, and may say for how long."""

    def __init__(self, why: str, after: float | None) -> None:
        super().__init__(why)
        self.after = after


def no_network(url: str, mirror: Path | None) -> ResidencyError | None:
    """The error for a query where a mirror is set, with which nothing is fetched from the network."""
    if mirror is None or loopback(urlsplit(url).hostname or ""):
        return None
    return Missing(
        f"a PubMed query asks {urlsplit(url).hostname}, and with a mirror ({mirror}) nothing is fetched "
        "from the network",
        "take records from files under `sources:`, or leave the mirror out (RESIDENCY_MIRROR)",
    )
