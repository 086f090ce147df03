"""Files out of an archive, within bounds, all of them or none.

An archive comes from elsewhere and is not trusted: no name may lead out of the folder, no
link or device is made, and size, number and ratio of what comes out are bounded.
"""

from __future__ import annotations

import difflib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from residency.errors import Missing, StageFailed
from residency.files import CHUNK


class MemberMissing(Missing):
    """The archive is sound and holds nothing that matches."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may come out of an archive."""

    files: int = 500_000
    bytes: int = 200 * 10**9
    ratio: float = 200.0
    """Bytes that come out per byte of the archive; text compresses to a tenth, a bomb to a thousandth."""
    free: int = 100 * 10**6
    """Bytes below which the ratio does not count."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    kind: str
    """`file`, `folder`, or what else it is: `link`, `device`."""
    open: Callable[[], IO[bytes]]


def extract(archive: Path, folder: Path, *, member: str | None, bounds: Bounds | None = None) -> list[Path]:
    """Take the files that match `member` (or all) out of `archive` into `folder`.

    Args:
        archive: zip, whl, tar, tar.gz, tar.bz2 or tar.xz.
        folder: Must not exist yet; it is there whole afterwards, or not at all.
        member: A glob, see `glob`; None for all.
        bounds: How much may come out.

    Returns:
        The files, in the order of their names.

    Raises:
        MemberMissing: No member matches.
        StageFailed: It is no archive, it is broken, or it breaks a bound.
    """
    bounds = bounds or Bounds()
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed; the caller holds the lock
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        names = _extract(archive, work, member, bounds)
        os.replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return [folder / name for name in sorted(names)]


def _extract(archive: Path, work: Path, member: str | None, bounds: Bounds) -> list[str]:
    """Write the files below `work`; their names."""
    written: list[str] = []
    passed: list[str] = []
    total = 0
    wanted = glob(member) if member is not None else None
    ceiling = min(bounds.bytes, max(bounds.free, int(archive.stat().st_size * bounds.ratio)))
    with _opened(archive) as entries:
        for count, entry in enumerate(entries, 1):
            if count > bounds.files:
                raise StageFailed(f"{archive} holds more than {bounds.files} entries")
            if entry.kind == "folder":
                continue
            if wanted is not None and not wanted.fullmatch(entry.name):
                passed.append(entry.name)
                continue
            target = work / _safe(archive, entry)
            if target.exists() or total + entry.size > ceiling:
                raise _refused(archive, entry, ceiling, twice=target.exists())
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise _refused(archive, entry, ceiling, twice=True) from None
            with entry.open() as source, target.open("xb") as out:
                while block := source.read(CHUNK):
                    total += len(block)
                    if total > ceiling:
                        raise _refused(archive, entry, ceiling, twice=False)
                    out.write(block)
            written.append(target.relative_to(work).as_posix())
    if not written:
        raise _nothing(archive, member, passed)
    return written


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Entry]]:
    """The entries of an archive of whichever kind; its own errors become ours."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _zip_entries(opened)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive, "r:*") as opened_tar:
                yield _tar_entries(opened_tar)
        else:
            raise StageFailed(
                f"{archive} is not an archive",
                "known: zip, whl, tar, tar.gz, tar.bz2, tar.xz; leave `member` out",
            )
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise StageFailed(
            f"{archive} is damaged: {error}", "delete it and run again to fetch it anew"
        ) from None
    except (RuntimeError, NotImplementedError) as error:
        # zipfile: a password, or a compression that it does not know.
        raise StageFailed(f"{archive} cannot be unpacked: {error}") from None


def _zip_entries(opened: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
        yield _Entry(info.filename, info.file_size, kind, lambda info=info: opened.open(info))  # type: ignore[misc]


def _tar_entries(opened: tarfile.TarFile) -> Iterator[_Entry]:
    for info in opened:
        if info.isreg() or info.isdir():
            kind = "file" if info.isreg() else "folder"
        else:
            kind = "link" if info.issym() or info.islnk() else "device"
        yield _Entry(info.name, info.size, kind, lambda info=info: opened.extractfile(info))  # type: ignore[misc,arg-type]


def glob(pattern: str) -> re.Pattern[str]:
    """The names that a pattern means, matched from the right.

    `*` and `?` stay within one folder level, `**/` is any number of levels, `[…]` one character
    of a set. `data/*.gz` finds `pkg-1.0/data/a.gz`.
    """
    text, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            text, at = text + "(?:[^/]+/)*", at + 3
            continue
        letter = pattern[at]
        closing = pattern.find("]", at + 2) if letter == "[" else -1
        if letter == "*":
            text += "[^/]*"
        elif letter == "?":
            text += "[^/]"
        elif closing > 0:
            inside = pattern[at + 1 : closing].replace("\\", r"\\")
            text += f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
            at = closing
        else:
            text += re.escape(letter)
        at += 1
    return re.compile(f"(?:.*/)?{text}", re.DOTALL)


def _safe(archive: Path, entry: _Entry) -> PurePosixPath:
    """The entry's path below the folder. Raises StageFailed for one that must not be written."""
    if entry.kind != "file":
        raise StageFailed(
            f"{archive} holds a {entry.kind} ({entry.name!r}); only files are taken",
            'name the files that you need: `member: "*.xml"`',
        )
    name = PurePosixPath(entry.name)
    wrong = name.is_absolute() or ".." in name.parts or not name.parts
    if wrong or "\\" in entry.name or "\0" in entry.name or ":" in name.parts[0]:
        raise StageFailed(
            f"{archive} holds {entry.name!r}, a name that leads out of its folder; nothing was taken"
        )
    return name


def _refused(archive: Path, entry: _Entry, ceiling: int, *, twice: bool) -> StageFailed:
    if twice:
        return StageFailed(f"{archive} holds {entry.name!r} twice; nothing was taken")
    return StageFailed(
        f"{archive} unpacks to more than {ceiling / 1e6:.0f} MB; nothing was taken",
        "an archive may unpack to 200 times its size; name the files that you need with `member:`",
    )


def _nothing(archive: Path, member: str | None, passed: list[str]) -> Missing:
    if member is None:
        return Missing(f"{archive} is empty")
    wanted = PurePosixPath(member).name
    names = {PurePosixPath(name).name: name for name in passed}
    near = [names[n] for n in difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)] or passed[:3]
    return MemberMissing(
        f"{archive} holds nothing that matches `{member}`",
        "it holds " + ", ".join(near) + (", …" if len(passed) > len(near) else ""),
    )
