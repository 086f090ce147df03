from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from residency.engines.verl import checkpoints


def make(home: Path, step: int, *, marked: bool = True) -> Path:
    """A folder as verl leaves it, in small."""
    path = home / f"global_step_{step}"
    (path / "actor" / "huggingface").mkdir(parents=True)
    (path / "actor" / "model_world_size_1_rank_0.pt").write_bytes(bytes(100 + step))
    (path / "actor" / "huggingface" / "config.json").write_text("{}")
    (path / "data.pt").write_bytes(b"rows")
    if marked:
        checkpoints.mark(path)
    return path


def steps(home: Path) -> list[int]:
    return [c.step for c in checkpoints.checkpoints(home)]


def test_only_a_marked_checkpoint_with_all_its_files_is_whole(tmp_path: Path) -> None:
    make(tmp_path, 5)
    make(tmp_path, 10, marked=False)
    last = checkpoints.newest(tmp_path)
    assert last is not None
    assert last.step == 5
    (tmp_path / "global_step_5" / "data.pt").write_bytes(b"ro")
    assert checkpoints.newest(tmp_path) is None


def test_steps_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        make(tmp_path, step)
    assert steps(tmp_path) == [3, 20, 100]


@pytest.mark.parametrize("broken", ["half", "file", "mark"])
def test_what_was_cut_off_is_removed_and_the_pointer_set(tmp_path: Path, broken: str) -> None:
    make(tmp_path, 5)
    later = make(tmp_path, 10, marked=broken != "half")
    if broken == "file":
        (later / "actor" / "model_world_size_1_rank_0.pt").unlink()
    if broken == "mark":
        (later / checkpoints.MARK).write_text('{"files"')
    (tmp_path / checkpoints.TRACKER).write_text("10")
    found = checkpoints.tidy(tmp_path)
    assert found is not None
    assert found.step == 5
    assert steps(tmp_path) == [5]
    assert (tmp_path / checkpoints.TRACKER).read_text() == "5"


def test_without_a_whole_one_nothing_is_pointed_to(tmp_path: Path) -> None:
    make(tmp_path, 5, marked=False)
    (tmp_path / checkpoints.TRACKER).write_text("5")
    assert checkpoints.tidy(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert checkpoints.tidy(tmp_path / "absent") is None


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        make(tmp_path, step)
    checkpoints.prune(tmp_path, 2, spare=frozenset({1}))
    assert steps(tmp_path) == [1, 3, 4]
    checkpoints.prune(tmp_path, 0)
    assert steps(tmp_path) == [4], "one is always kept"


def test_a_lost_folder_comes_back_from_its_mirror(tmp_path: Path) -> None:
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    for step in (1, 2, 3):
        path = make(home, step)
        checkpoints.copy(checkpoints.Checkpoint(step, path), mirror, keep=2)
    assert steps(mirror) == [2, 3]
    (home / "global_step_3" / "data.pt").unlink()
    found = checkpoints.restore(home, mirror)
    assert found is not None
    assert found.step == 3
    assert (home / "global_step_3" / "data.pt").read_bytes() == b"rows"
    assert checkpoints.restore(home, mirror) is None, "nothing newer is there"
    assert checkpoints.restore(home, tmp_path / "absent") is None


def test_a_half_copied_mirror_is_not_taken(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    make(mirror, 4, marked=False)
    assert checkpoints.restore(tmp_path / "home", mirror) is None


def reference(home: Path, step: int) -> Path:
    with checkpoints.new_reference(home, step) as part:
        (part / "rank_0.pt").write_text(str(step))
    return checkpoints.reference(home, step)


class TestReferences:
    def test_it_takes_its_place_when_all_of_it_is_written(self, tmp_path: Path) -> None:
        def cut_off() -> None:
            with checkpoints.new_reference(tmp_path, 2) as part:
                (part / "rank_0.pt").touch()
                raise OSError("full")

        with pytest.raises(OSError, match="full"):
            cut_off()
        assert checkpoints.references(tmp_path) == []
        make(tmp_path, 1)
        checkpoints.tidy(tmp_path)
        assert [path.name for path in tmp_path.iterdir() if "reference" in path.name] == []
        assert checkpoints.reference_whole(reference(tmp_path, 2))
        assert (reference(tmp_path, 2) / "rank_0.pt").read_text() == "2", "once more over what was there"

    def test_those_that_a_checkpoint_is_measured_against_stay(self, tmp_path: Path) -> None:
        for step in (2, 4, 6, 9):
            reference(tmp_path, step)
        for step in (3, 5, 7):
            make(tmp_path, step)
        checkpoints.prune(tmp_path, keep=2)
        assert steps(tmp_path) == [5, 7]
        assert checkpoints.references(tmp_path) == [4, 6, 9]

    def test_without_a_checkpoint_all_stay(self, tmp_path: Path) -> None:
        reference(tmp_path, 2)
        checkpoints.prune(tmp_path, keep=1)
        assert checkpoints.references(tmp_path) == [2]

    def test_the_mirror_has_them_too(self, tmp_path: Path) -> None:
        home, mirror = tmp_path / "home", tmp_path / "mirror"
        make(home, 3)
        reference(home, 2)
        checkpoints.copy(checkpoints.Checkpoint(3, home / "global_step_3"), mirror, keep=2)
        checkpoints.copy_reference(home, mirror, 2)
        shutil.rmtree(home)
        found = checkpoints.restore(home, mirror)
        assert found is not None
        assert found.step == 3
        assert checkpoints.references(home) == [2]
        assert (checkpoints.reference(home, 2) / "rank_0.pt").read_text() == "2"
