from __future__ import annotations

import os
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from residency.errors import EXIT_MISSING, Missing, RecipeInvalid
from residency.files import sha256_file
from residency.sources import fetch
from residency.sources.fetch import WrongContent
from residency.sources.spec import problems, redact, scheme

URL = "https://data.example.org/set/v1/rows.jsonl"


def get(source: dict[str, Any], tmp_path: Path, mirror: Path | None = None) -> Any:
    return fetch(source, cache=tmp_path / "cache", mirror=mirror, base=tmp_path)


def test_a_local_file_and_a_local_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    found = get({"url": "rows.jsonl", "licence": "CC0-1.0"}, tmp_path)
    assert (found.path, found.from_, found.licence) == (tmp_path / "rows.jsonl", "file", "CC0-1.0")
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "b.xml").write_text("b")
    (folder / "a.xml").write_text("a")
    assert [p.name for p in get({"url": "many"}, tmp_path).files] == ["a.xml", "b.xml"]
    with pytest.raises(Missing, match=r"nowhere.jsonl is not there"):
        get({"url": "nowhere.jsonl"}, tmp_path)


def test_a_mirror_is_all_there_is(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    place = mirror / "data.example.org/set/v1/rows.jsonl"
    with pytest.raises(Missing, match="the mirror has no") as error:
        get({"url": URL}, tmp_path, mirror)
    assert str(place) in str(error.value.hint)
    place.parent.mkdir(parents=True)
    place.write_text("{}\n")
    found = get({"url": URL}, tmp_path, mirror)
    assert (found.path, found.from_) == (place, "mirror")
    with pytest.raises(
        WrongContent, match=f"sha256 {sha256_file(place)} came, {'0' * 64} is expected"
    ) as error:
        get({"url": URL, "sha256": "0" * 64}, tmp_path, mirror)
    assert str(place) in str(error.value.hint)
    assert place.exists()
    with pytest.raises(WrongContent, match="3 bytes where the recipe says 4"):
        get({"url": URL, "bytes": 4}, tmp_path, mirror)
    # The file that is needed is not there, whatever else is.
    assert error.value.exit_code == EXIT_MISSING


def test_a_mirror_with_the_query_in_the_name(tmp_path: Path) -> None:
    folder = tmp_path / "mirror/data.example.org"
    folder.mkdir(parents=True)
    (folder / "rows?v=1").write_text("one")
    (folder / "rows").write_text("any")
    for query, text in (("v=1", "one"), ("v=2", "any")):
        found = get({"url": f"https://data.example.org/rows?{query}"}, tmp_path, tmp_path / "mirror")
        assert found.path.read_text() == text


def test_a_known_hash_is_found_in_the_cache_beside_a_mirror(tmp_path: Path) -> None:
    import hashlib

    sha256 = hashlib.sha256(b"rows").hexdigest()
    kept = tmp_path / "cache/files" / sha256
    kept.mkdir(parents=True)
    (kept / "rows.jsonl").write_bytes(b"rows")
    (tmp_path / "mirror").mkdir()
    found = get({"url": URL, "sha256": sha256}, tmp_path, tmp_path / "mirror")
    assert found.from_ == "cache"


@pytest.mark.parametrize(
    ("place", "kind", "found"),
    [
        ("pypi/some-pkg/1.0/some_pkg-1.0-py3-none-any.whl", None, True),
        ("pypi/Some.Pkg/1.0/some_pkg-1.0-py3-none-any.whl", "wheel", True),
        ("pypi/some_pkg-1.0-py3-none-any.whl", None, True),
        ("pypi/some-pkg-1.0.tar.gz", "sdist", True),
        ("pypi/some_pkg-1.0-py3-none-any.whl", "sdist", False),
        ("pypi/some_pkg-1.0.1-py3-none-any.whl", None, False),
        ("pypi/some_pkg-1.0.post1.tar.gz", None, False),
        ("pypi/some_pkg_more-1.0.tar.gz", None, False),
        ("pypi/some-pkg/2.0/some_pkg-1.0-py3-none-any.whl", None, False),
    ],
)
def test_distributions_in_a_mirror(place: str, kind: str | None, found: bool, tmp_path: Path) -> None:
    path = tmp_path / "mirror" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    source = {"url": "pypi:some-pkg==1.0", **({"kind": kind} if kind else {})}
    if found:
        assert get(source, tmp_path, tmp_path / "mirror").path == path
    else:
        with pytest.raises(Missing, match="the mirror has no") as error:
            get(source, tmp_path, tmp_path / "mirror")
        assert "pypi/some-pkg/1.0" in str(error.value.hint)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://data.example.org/x"}, "url"),
        ({"url": "http://data.example.org/x"}, "url"),
        ({"url": "https:///x"}, "url"),
        ({"url": "https://data.example.org:port/x"}, "url"),
        ({"url": "https://me:secret@data.example.org/x"}, "url"),
        ({"url": "pypi:name"}, "url"),
        ({"url": "pypi:name>=1"}, "url"),
        ({"url": URL, "sha256": "abc"}, "sha256"),
        ({"url": URL, "sha256": 12}, "sha256"),
        ({"url": URL, "bytes": 0}, "bytes"),
        ({"url": URL, "member": "/abs"}, "member"),
        ({"url": URL, "member": "../x"}, "member"),
        ({"url": URL, "member": "a[b"}, "member"),
        ({"url": URL, "member": "a**b"}, "member"),
        ({"url": URL, "member": "*.xml", "unpack": True}, "member"),
        ({"url": URL, "kind": "sdist"}, "kind"),
        ({"url": "pypi:name==1", "kind": "egg"}, "kind"),
    ],
)
def test_what_is_wrong_with_a_source(source: dict[str, Any], key: str, tmp_path: Path) -> None:
    assert [k for k, _ in problems(source)] == [key]
    with pytest.raises(RecipeInvalid, match=f"`{key}`"):
        get(source, tmp_path)


def test_sound_sources() -> None:
    for source in (
        {"url": URL},
        {"url": "HTTPS://data.example.org/x"},
        {"url": "http://127.0.0.1:8000/x"},
        {"url": "http://[::1]:8000/x"},
        {"url": "../x.jsonl"},
        {"url": "C.jsonl"},
        {"url": "pypi:some.pkg_x==1.0+cpu", "kind": "wheel", "member": "**/*.gguf"},
    ):
        assert problems(source) == []
    assert [scheme(u) for u in ("a:b/c.txt", "pypi:a==1", "https://x/y", "/a/b")] == [
        "file",
        "pypi",
        "https",
        "file",
    ]


def test_what_may_be_written_down_of_a_url() -> None:
    assert (
        redact("https://u:p@h.example/x?token=abc&download=1#top") == "https://h.example/x?token=…&download=1"
    )
    assert redact("https://h.example/x?k=" + "a" * 40) == "https://h.example/x?k=…"
    assert redact("pypi:a==1") == "pypi:a==1"


# A package index on this disk, as `pip` itself may be told of one.


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Wheels and sdists where pip looks; nothing else is there for it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with zipfile.ZipFile(folder / "some_pkg-1.0-py3-none-any.whl", "w") as out:
        out.writestr("some_pkg/data/rows.jsonl", "{}\n")
    return folder


def sdist(folder: Path, mark: Path) -> None:
    """An sdist whose setup.py leaves a mark when it is run."""
    setup = f"open({str(mark)!r}, 'w').close()\nimport setuptools\nsetuptools.setup(name='some-pkg')\n"
    with zipfile.ZipFile(folder / "some_pkg-1.0.zip", "w") as out:
        out.writestr("some_pkg-1.0/setup.py", setup)
        out.writestr("some_pkg-1.0/PKG-INFO", "Metadata-Version: 1.0\nName: some-pkg\nVersion: 1.0\n")
        out.writestr("some_pkg-1.0/extra/only_here.jsonl", "{}\n")


def test_a_member_of_a_wheel(index: Path, tmp_path: Path) -> None:
    found = get({"url": "pypi:some-pkg==1.0", "member": "data/*.jsonl"}, tmp_path)
    assert found.path.read_text() == "{}\n"
    assert found.from_ == "network"
    assert get({"url": "pypi:some-pkg==1.0", "member": "data/*.jsonl"}, tmp_path).from_ == "cache"


def test_an_sdist_is_fetched_without_running_its_code(index: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    sdist(index, mark)
    source = {"url": "pypi:Some_Pkg==1.0", "member": "extra/*.jsonl"}
    # The wheel comes first; it lacks the member, so the sdist is looked into.
    assert get(source, tmp_path).path.name == "only_here.jsonl"
    assert get({**source, "kind": "sdist"}, tmp_path).path.name == "only_here.jsonl"
    assert not mark.exists()


def test_what_the_index_lacks(index: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no some-pkg==2.0"):
        get({"url": "pypi:some-pkg==2.0"}, tmp_path)
    with pytest.raises(Missing, match="with an sdist") as error:
        get({"url": "pypi:some-pkg==1.0", "kind": "sdist"}, tmp_path)
    assert "some_pkg-1.0-py3-none-any.whl" in str(error.value.hint)
    with pytest.raises(Missing, match="nothing that matches"):
        get({"url": "pypi:some-pkg==1.0", "member": "no/*.such"}, tmp_path)


def test_an_index_that_cannot_be_reached(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with socket.socket() as closed:  # bound, and not listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(Missing, match="the package index could not be reached") as caught:
            get({"url": "pypi:absent==1.0"}, tmp_path)
    assert "--mirror" in (caught.value.hint or "")


def test_the_hash_chooses_the_file(index: Path, tmp_path: Path) -> None:
    sdist(index, tmp_path / "was-run")
    wrong = "0" * 64
    with pytest.raises(WrongContent, match=wrong):
        get({"url": "pypi:some-pkg==1.0", "sha256": wrong}, tmp_path)
    wheel = sha256_file(index / "some_pkg-1.0-py3-none-any.whl")
    assert get({"url": "pypi:some-pkg==1.0", "sha256": wheel}, tmp_path).sha256 == wheel


def test_without_pip(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    (empty / "pip").mkdir(parents=True)
    (empty / "pip/__init__.py").write_text("raise ImportError('no pip here')\n")
    monkeypatch.setenv("PYTHONPATH", str(empty))
    with pytest.raises(Missing, match=r"pip could not download|pip could not be used"):
        get({"url": "pypi:some-pkg==1.0"}, tmp_path)
    assert sys.executable
