"""One file over HTTP, whole, whatever the network does on the way.

A download that breaks off goes on where it stopped (`Range`, with `If-Range` so that a file
that has changed meanwhile is begun anew). Servers that are busy are asked again, later and
later, at the time that they name (`Retry-After`). What cannot get better by waiting (404,
403, a full disk) is said at once.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from residency.errors import Missing, ResidencyError, StageFailed
from residency.files import CHUNK, read_json, write_json
from residency.sources.patience import RETRIED, Patience, reason, retry_after
from residency.sources.spec import loopback, redact

Tell = Callable[[str], None]

_REDIRECTS = {301, 302, 303, 307, 308}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a server gave."""

    bytes: int
    etag: str | None
    resumed: bool
    """True when it was put together from more than one answer."""
    unchanged: bool = False
    """True when the server says that the file is still the one that `etag` names."""


class _TryAgain(Exception):
    """The attempt failed in a way that another may not."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def download(
    url: str,
    part: Path,
    *,
    session: Any,
    network_errors: tuple[type[BaseException], ...],
    size: int | None = None,
    pinned: bool = False,
    known_etag: str | None = None,
    tell: Tell | None = None,
    patience: Patience | None = None,
) -> Downloaded:
    """Fetch `url` into `part`, going on from what is already there.

    Args:
        url: https, or http on this machine.
        part: The file; `part` + ".json" keeps what the server said of it.
        session: A `requests.Session` or one that behaves like it.
        network_errors: What the session raises when the network fails.
        size: The bytes that there must be, when known.
        pinned: A hash will be checked: a part may be continued though the server gives nothing
            by which to tell that the file is still the same.
        known_etag: What the server called the content that is there already.
        tell: Is told of progress, about once a second.
        patience: Time limits.

    Raises:
        Missing: The server refuses, has no such file, or cannot be reached.
        StageFailed: The disk is full.
    """
    patience = patience or Patience()
    tell = tell or (lambda text: None)
    attempt = _Attempt(url, part, session, network_errors, size, pinned, known_etag, tell, patience)
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = attempt.have()
        try:
            return attempt.run()
        except _TryAgain as error:
            failures = 1 if attempt.have() > before else failures + 1
            if failures >= patience.tries:
                raise Missing(
                    f"{redact(url)} could not be fetched: {error} ({failures} attempts in a row)",
                    "run the same command again later: what has arrived is kept; "
                    "without a network, give a mirror (--mirror FOLDER)",
                ) from None
            wait = patience.pause(failures) if error.after is None else error.after
            tell(f"{error}; next attempt in {wait:.0f} s")
            patience.sleep(wait)


@dataclass
class _Attempt:
    """One request after another for the same file."""

    url: str
    part: Path
    session: Any
    network_errors: tuple[type[BaseException], ...]
    size: int | None
    pinned: bool
    known_etag: str | None
    tell: Tell
    patience: Patience
    answers: int = 0
    """Answers whose bytes stand in the part."""

    @property
    def about(self) -> Path:
        return self.part.with_name(self.part.name + ".json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> Downloaded:
        """One attempt. Raises _TryAgain when another one may do better."""
        about = read_json(self.about) if self.have() else None
        about = about if isinstance(about, dict) else {}
        validator = about.get("validator")
        start = self.have() if validator or self.pinned else 0
        if start and start == (self.size or about.get("total")):
            return Downloaded(start, about.get("etag"), resumed=True)
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        elif self.known_etag:
            headers["If-None-Match"] = self.known_etag
        response = self._get(headers)
        try:
            return self._take(response, start)
        finally:
            response.close()

    def _get(self, headers: dict[str, str]) -> Any:
        """The answer, redirects followed; each place is looked at before it is asked."""
        url = self.url
        for _ in range(self.patience.redirects + 1):
            try:
                response = self.session.get(
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self.patience.connect, self.patience.read),
                )
            except self.network_errors as error:
                raise _TryAgain(reason(error)) from None
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                return response
            response.close()
            url = urljoin(url, location)
            parts = urlsplit(url)
            if parts.scheme != "https" and not (parts.scheme == "http" and loopback(parts.hostname or "")):
                raise Missing(
                    f"{redact(self.url)} sends on to {redact(url)}, which is not https",
                    "what comes over http can be changed on its way; use another address, with sha256",
                )
        raise Missing(f"{redact(self.url)} sends on from place to place, {self.patience.redirects} times")

    def _take(self, response: Any, start: int) -> Downloaded:
        """Write an answer's bytes behind what is there, or from the start."""
        status = response.status_code
        etag = response.headers.get("ETag")
        if status == 304:
            return Downloaded(0, self.known_etag, resumed=False, unchanged=True)
        if status == 416 and start:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total.isdecimal() and int(total) == start:
                return Downloaded(start, etag, resumed=True)
            self._forget()
            raise _TryAgain("the server's file is shorter than what was there")
        if status in RETRIED:
            raise _TryAgain(f"the server answered {status}", self._asked(response))
        if status not in (200, 206):
            raise _refused(self.url, status)
        total = _length(response)
        if status == 206:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) != start:
                self._forget()
                raise _TryAgain("the server sent another part than the one asked for")
            total = int(match[3]) if match[3] != "*" else (start + total if total is not None else None)
        else:
            start = 0
        decode = self._encoded(response)
        if decode:
            total = None  # Content-Length counts the bytes before decoding
        if self.size is not None and total is not None and total != self.size:
            raise _TryAgain(f"the server says {total} bytes where the recipe says {self.size}")
        self._room(total, start)
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
        write_json(self.about, {"validator": None if decode else validator, "etag": etag, "total": total})
        self.answers = self.answers + 1 if start else 1
        have = self._write(self._blocks(response, decode), start, total)
        if total is not None and have != total:
            if have > total:
                self._forget()
            raise _TryAgain(f"the connection ended at {have} of {total} bytes")
        if self.size is not None and have != self.size:
            self._forget()
            raise _TryAgain(f"{have} bytes came where the recipe says {self.size}")
        return Downloaded(have, etag, resumed=self.answers > 1)

    def _write(self, blocks: Iterator[bytes], start: int, total: int | None) -> int:
        """Write the blocks from `start` on; the size of the part afterwards."""
        have, began, told = start, time.monotonic(), 0.0
        with self.part.open("r+b" if start else "wb") as out:
            out.seek(start)
            out.truncate()
            while True:
                try:
                    block = next(blocks, None)
                except self.network_errors as error:
                    raise _TryAgain(f"{reason(error)} at {have} bytes") from None
                if block is None:
                    return have
                try:
                    out.write(block)
                except OSError as error:
                    raise StageFailed(f"{self.part} cannot be written: {error.strerror}") from None
                have += len(block)
                now = time.monotonic()
                if now - told >= 1:
                    told = now
                    speed = (have - start) / max(now - began, 1e-3) / 1e6
                    of = f" of {total / 1e6:.1f}" if total else ""
                    self.tell(f"{have / 1e6:.1f}{of} MB, {speed:.1f} MB/s")

    def _blocks(self, response: Any, decode: bool) -> Iterator[bytes]:
        """The body as it was sent, or decoded."""
        return iter(response.raw.stream(CHUNK // 4, decode_content=decode))

    def _encoded(self, response: Any) -> bool:
        """True when the body was compressed for its way, though that was not asked for.

        Servers also name an encoding for a file that is itself a .gz; that one is left as it is.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        own = urlsplit(self.url).path.lower().endswith((".gz", ".tgz", ".bz2", ".xz", ".zst"))
        return encoding not in ("", "identity") and not own

    def _asked(self, response: Any) -> float | None:
        """The seconds that Retry-After asks for."""
        seconds = retry_after(response.headers.get("Retry-After"))
        if seconds is not None and seconds > self.patience.longest_asked:
            raise Missing(
                f"{redact(self.url)} is busy and asks to be left alone for {seconds:.0f} s",
                "run the same command again after that",
            )
        return seconds

    def _room(self, total: int | None, start: int) -> None:
        """Say so before a download for which there is no room."""
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise StageFailed(
                f"{redact(self.url)} has {total / 1e9:.2f} GB; "
                f"{self.part.parent} has room for {free / 1e9:.2f} GB",
                "make room, or set RESIDENCY_CACHE to a folder on a larger disk",
            )

    def _forget(self) -> None:
        """Begin anew next time."""
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def _length(response: Any) -> int | None:
    """Content-Length, when there is a sound one."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _refused(url: str, status: int) -> ResidencyError:
    """What to say of an answer that waiting will not change."""
    hints = {
        401: "it wants a name and a password: put them into ~/.netrc",
        403: "it may want an account, or its terms accepted",
        404: "the address may have changed",
        410: "it is gone for good",
    }
    return Missing(
        f"{redact(url)} could not be fetched: the server answered {status}",
        f"{hints.get(status, 'the server will not give it')}; "
        "a mirror (--mirror FOLDER) works without the network",
    )
