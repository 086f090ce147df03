from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from residency.errors import Missing, ResidencyError, StageFailed
from residency.sources import fetch
from residency.sources.archives import Bounds, extract, glob

FILES = {"pkg-1.0/data/a.xml": b"<a/>", "pkg-1.0/data/b.txt": b"b", "pkg-1.0/c.xml": b"<c/>"}


def make(path: Path, files: dict[str, bytes] = FILES) -> Path:
    if path.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in files.items():
                out.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}") as out:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    return path


def tar_with(path: Path, **fields: object) -> Path:
    with tarfile.open(path, "w:gz") as out:
        good = tarfile.TarInfo("good.txt")
        good.size = 4
        out.addfile(good, io.BytesIO(b"good"))
        info = tarfile.TarInfo(str(fields.pop("name")))
        for key, value in fields.items():
            setattr(info, key, value)
        out.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return path


@pytest.mark.parametrize("ending", [".zip", ".whl", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_members_of_every_kind_of_archive(ending: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"a{ending}")
    found = extract(archive, tmp_path / "out", member="data/*.xml")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in found] == ["pkg-1.0/data/a.xml"]
    assert found[0].read_bytes() == b"<a/>"
    assert len(extract(archive, tmp_path / "all", member=None)) == 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.xml", {"pkg-1.0/data/a.xml", "pkg-1.0/c.xml"}),
        ("data/*", {"pkg-1.0/data/a.xml", "pkg-1.0/data/b.txt"}),
        ("pkg-1.0/*.xml", {"pkg-1.0/c.xml"}),
        ("**/a.xml", {"pkg-1.0/data/a.xml"}),
        ("pkg-1.0/**/*.xml", {"pkg-1.0/data/a.xml", "pkg-1.0/c.xml"}),
        ("?.xml", {"pkg-1.0/data/a.xml", "pkg-1.0/c.xml"}),
        ("[!a].xml", {"pkg-1.0/c.xml"}),
        ("[a-b].*", {"pkg-1.0/data/a.xml", "pkg-1.0/data/b.txt"}),
        ("ata/*", set()),
        ("a.xm", set()),
    ],
)
def test_globs(pattern: str, names: set[str]) -> None:
    assert {name for name in FILES if glob(pattern).fullmatch(name)} == names


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt", "..\\out.txt", "a/\\..\\x"]
)
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_no_name_leads_out_of_the_folder(name: str, ending: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"a{ending}", {"good.txt": b"good", name: b"bad"})
    with pytest.raises(StageFailed, match="leads out of its folder"):
        extract(archive, tmp_path / "deep" / "out", member=None)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [archive.name]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "link.txt", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"name": "hard.txt", "type": tarfile.LNKTYPE, "linkname": "good.txt"},
        {"name": "null.txt", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"name": "pipe.txt", "type": tarfile.FIFOTYPE},
    ],
)
def test_no_link_and_no_device_is_made(fields: dict[str, object], tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", **fields)
    with pytest.raises(StageFailed, match="only files are taken"):
        extract(archive, tmp_path / "out", member="*.txt")
    assert not (tmp_path / "out").exists()
    # A member that is a file can still be taken.
    assert extract(archive, tmp_path / "one", member="good.txt")[0].read_bytes() == b"good"


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("link.txt")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(StageFailed, match="only files"):
        extract(path, tmp_path / "out", member=None)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_size_ratio_and_number_are_bounded(ending: str, tmp_path: Path) -> None:
    bomb = make(tmp_path / f"bomb{ending}", {f"{i}.txt": b"0" * 3_000_000 for i in range(4)})
    assert bomb.stat().st_size < 60_000
    with pytest.raises(StageFailed, match="unpacks to more than 10 MB"):
        extract(bomb, tmp_path / "a", member=None, bounds=Bounds(free=10_000_000, ratio=2.0))
    with pytest.raises(StageFailed, match="more than 5 MB"):
        extract(bomb, tmp_path / "b", member=None, bounds=Bounds(bytes=5_000_000))
    with pytest.raises(StageFailed, match="more than 3 entries"):
        extract(bomb, tmp_path / "c", member=None, bounds=Bounds(files=3))
    assert {p.name for p in tmp_path.iterdir()} == {bomb.name}
    assert len(extract(bomb, tmp_path / "d", member=None)) == 4


def test_a_size_that_lies(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a.txt": b"0" * 5_000_000})
    data = bytearray(path.read_bytes())
    # The central directory says 10 bytes where five million come.
    at = data.rfind(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(StageFailed):
        extract(path, tmp_path / "out", member=None, bounds=Bounds(bytes=1_000_000))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("a.txt", "a.txt"), ("a", "a/b")])
def test_two_members_for_one_place(names: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as out:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            out.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(StageFailed, match="twice"):
        extract(path, tmp_path / "out", member=None)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_damaged_archive(ending: str, share: float, tmp_path: Path) -> None:
    noise = {f"{i}.bin": os.urandom(20_000) for i in range(5)}
    path = make(tmp_path / f"a{ending}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ResidencyError):
        extract(path, tmp_path / "out", member=None)
    assert not (tmp_path / "out").exists()


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a.bin": os.urandom(50_000)})
    data = bytearray(path.read_bytes())
    data[20_000] ^= 255
    path.write_bytes(data)
    with pytest.raises(StageFailed, match="damaged"):
        extract(path, tmp_path / "out", member=None)


def test_no_archive_and_no_member(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no archive")
    with pytest.raises(StageFailed, match="is not an archive"):
        extract(plain, tmp_path / "out", member="*.txt")
    archive = make(tmp_path / "a.zip")
    with pytest.raises(Missing, match="nothing that matches") as error:
        extract(archive, tmp_path / "out", member="data/a.xm")
    assert "pkg-1.0/data/a.xml" in str(error.value.hint)


def test_unpacked_once_and_shared(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    source = {"url": "a.zip", "member": "data/*.xml"}
    lines: list[str] = []
    for _ in range(2):
        found = fetch(source, cache=tmp_path / "c", mirror=None, base=tmp_path, report=lines.append)
        assert found.path.name == "a.xml"
        assert found.path.read_bytes() == b"<a/>"
    assert len(lines) == 1
    many = fetch({"url": "a.zip", "member": "*.xml"}, cache=tmp_path / "c", mirror=None, base=tmp_path)
    assert many.path.is_dir()
    assert [p.name for p in many.files] == ["c.xml", "a.xml"] or [p.name for p in many.files] == [
        "a.xml",
        "c.xml",
    ]
    whole = fetch({"url": "a.zip", "unpack": True}, cache=tmp_path / "c", mirror=None, base=tmp_path)
    assert len(whole.files) == 3
    # Another archive under the same name is another archive.
    make(archive, {"data/a.xml": b"<other/>"})
    assert fetch(source, cache=tmp_path / "c", mirror=None, base=tmp_path).path.read_bytes() == b"<other/>"


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    left = tmp_path / ".out.killed"
    left.mkdir()
    (left / "half").write_text("half")
    extract(archive, tmp_path / "out", member=None)
    assert not left.exists()
