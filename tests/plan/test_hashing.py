from __future__ import annotations

import os
from pathlib import Path

import pytest

from residency.files import sha256_file, sha256_tree
from residency.plan.hashing import FileHashes


def old(path: Path) -> None:
    """Make a file look as if it had been written long ago, so that its hash is remembered."""
    os.utime(path, (1_600_000_000, 1_600_000_000))


def test_files_and_folders_hash_as_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    (folder / "sub" / "b.bin").write_bytes(b"def")
    hashes = FileHashes(tmp_path / "hashes.json")
    assert hashes.of(folder / "a.bin") == sha256_file(folder / "a.bin")
    assert hashes.of(folder) == sha256_tree(folder)
    with pytest.raises(FileNotFoundError):
        hashes.of(tmp_path / "absent")


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("one")
    old(file)
    store = tmp_path / "hashes.json"
    first = FileHashes(store)
    digest = first.of(file)
    first.save()

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr("residency.plan.hashing.sha256_file", refuse)
    assert FileHashes(store).of(file) == digest
    monkeypatch.undo()
    file.write_text("two")
    assert FileHashes(store).of(file) != digest


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("one")
    hashes = FileHashes(tmp_path / "hashes.json")
    hashes.of(file)
    hashes.save()
    assert not (tmp_path / "hashes.json").exists()


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", "null"])
def test_a_damaged_memory_is_no_reason_to_stop(tmp_path: Path, damage: str) -> None:
    (tmp_path / "hashes.json").write_text(damage)
    (tmp_path / "x").write_text("x")
    assert FileHashes(tmp_path / "hashes.json").of(tmp_path / "x") == sha256_file(tmp_path / "x")
