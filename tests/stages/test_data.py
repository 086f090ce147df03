from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from residency.errors import EXIT_MISSING, StageFailed
from residency.stages.data import KIND

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "sources"))
from data_case import PROJECT, Case, check
from faulty_server import Plan, serve


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    random_ = random.Random(seed)
    return [
        {
            "instruction": f"Question {i} {random_.random()}",
            "input": "",
            "output": "yes" if i % 4 else "no",
            "pmid": str(i // 2),
            "label": "yes" if i % 4 else "no",
        }
        for i in range(n)
    ]


def write(folder: Path, name: str, found: list[dict[str, Any]]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


def read(case: Case, name: str) -> list[dict[str, Any]]:
    text = (case.job.outputs / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


SPLIT = {"train": 0.75, "test": 40, "by": "pmid", "seed": 7}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    write(tmp_path, "rows.jsonl", [*rows(200), {"no": "conversation"}])
    config = {
        "sources": {"raw": {"url": "rows.jsonl", "licence": "CC0-1.0"}},
        "datasets": {
            "chat": {"from": "parts_test", "format": "openai"},
            "parts": {"from": "raw", "process": "processors.convert.dedupe", "split": SPLIT},
            "plain": {
                "from": ["raw", "parts_test"],
                "process": [{"fn": "processors.convert.filter", "args": {"where": {"label": "no"}}}],
                "format": "rows",
            },
        },
    }
    return Case(config, tmp_path)


def test_datasets_reports_and_registry(case: Case) -> None:
    done = case.run()
    assert done.returncode == 0, done.stdout + done.stderr
    train, test = read(case, "parts_train"), read(case, "parts_test")
    assert len(test) == 40
    assert len(train) == pytest.approx(150, abs=2)
    assert not {r["pmid"] for r in train} & {r["pmid"] for r in test}
    assert Counter(r["label"] for r in test) == {"yes": 30, "no": 10}
    assert read(case, "chat")[0]["messages"][0]["role"] == "user"
    assert len(read(case, "plain")) == 50 + 10

    verified = case.verify()
    assert verified.metrics["parts_test.rows"] == 40
    assert (
        set(verified.outputs)
        == {*KIND.outputs(case.config)}
        == {
            "parts_train",
            "parts_test",
            "chat",
            "plain",
            "dataset_info",
            "report",
        }
    )
    info = json.loads((case.job.outputs / "dataset_info.json").read_text())
    assert set(info) == {"parts_train", "parts_test", "chat"}
    for name, entry in info.items():
        known = KIND.outputs(case.config)[name]
        assert entry == {"file_name": f"{name}.jsonl", **(known.dataset or {})}
        columns = entry["columns"].values()
        assert all(column in row for row in read(case, name) for column in columns)

    report = json.loads((case.job.outputs / "report.json").read_text())
    data = (case.folder / "rows.jsonl").read_bytes()
    assert report["sources"]["raw"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert report["sources"]["raw"]["licence"] == "CC0-1.0"
    said = report["datasets"]["parts"]
    assert said["formatted"]["dropped"] == [
        {"reason": "neither instruction, conversations nor messages", "n": 1, "examples": ["row 201"]}
    ]
    assert [(f["name"], f["rows"], f["labels"]) for f in said["files"]][1] == (
        "parts_test",
        40,
        {"no": 10, "yes": 30},
    )
    steps = report["datasets"]["plain"]["processors"]
    assert [(s["function"], s["read"], s["kept"]) for s in steps] == [
        ("residency.rows.read.rows_of", 241, 241),
        ("processors.convert.filter", 241, 60),
    ]
    assert [p.name for p in case.job.folder.glob("spool-*")] == []


def test_the_same_recipe_gives_the_same_bytes(case: Case, tmp_path: Path) -> None:
    assert case.run().returncode == 0
    first = {p.name: p.read_bytes() for p in case.job.outputs.glob("*.jsonl")}
    other = Case(case.config, tmp_path / "other")
    other.folder.mkdir()
    (other.folder / "rows.jsonl").write_bytes((case.folder / "rows.jsonl").read_bytes())
    assert other.run().returncode == 0
    assert {p.name: p.read_bytes() for p in other.job.outputs.glob("*.jsonl")} == first


def test_the_command_can_be_planned_without_touching_the_disk(case: Case) -> None:
    engine = KIND.engine(case.config)
    assert engine.prepare(case.job) == engine.prepare(case.job)
    assert not case.job.folder.exists()
    assert engine.version()


def test_the_inputs_of_the_fingerprint(case: Case, tmp_path: Path) -> None:
    found = KIND.inputs(case.config, tmp_path, PROJECT)
    assert found.files == (tmp_path / "rows.jsonl",)
    assert found.functions == ("processors.convert.dedupe", "processors.convert.filter")


def test_what_was_finished_is_kept_and_the_rest_begun_anew(case: Case) -> None:
    assert case.run().returncode == 0
    engine = KIND.engine(case.config)
    assert engine.resume(case.job) == "3 of 3 datasets"
    path = case.job.outputs / "parts_test.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    (case.job.outputs / ".half.jsonl.abc.part").write_text("half")
    with pytest.raises(StageFailed, match="not the file that was written"):
        case.verify()
    done = case.run()
    assert "dataset chat: finished before" in done.stdout
    assert "dataset parts: finished before" not in done.stdout
    assert path.read_bytes() == whole
    assert not list(case.job.outputs.glob(".*"))
    case.verify()


@pytest.mark.parametrize("moment", ["fetching", "making"])
def test_killed_and_started_again(moment: str, tmp_path: Path) -> None:
    body = "".join(json.dumps(row) + "\n" for row in rows(4000)).encode()
    slow = tmp_path / "slow.py"
    config = {
        "sources": {"raw": {"url": "", "sha256": hashlib.sha256(body).hexdigest()}},
        "datasets": {
            "first": {"from": "raw"},
            "second": {"from": "first", "process": ["residency_test_slow.slowly"], "split": SPLIT},
        },
    }
    (tmp_path / "residency_test_slow.py").write_text(
        "import pathlib, time\n"
        "def slowly(rows, *, report=None):\n"
        "    for i, row in enumerate(rows):\n"
        f"        if i == 2000 and not pathlib.Path({str(slow)!r}).exists(): time.sleep(60)\n"
        "        yield row\n"
    )
    plan = Plan(body, [{"pause": 0.2}] if moment == "fetching" else [])
    with serve(plan) as server:
        config["sources"]["raw"]["url"] = f"{server}/rows.jsonl"  # type: ignore[index]
        case = Case(config, tmp_path)
        argv, env = case.prepare()
        env["PYTHONPATH"] += f":{tmp_path}"
        child = subprocess.Popen(argv, cwd=case.job.folder, env=env, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if moment == "fetching" and any(
                p.stat().st_size > 100_000 for p in (tmp_path / "cache/parts").glob("*.part")
            ):
                break
            if moment == "making" and any(p.stat().st_size > 1000 for p in case.job.folder.glob("spool-*")):
                break
            time.sleep(0.02)
        else:
            pytest.fail("it never came so far")
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not (case.job.outputs / "second_test.jsonl").exists()
        slow.touch()
        done = case.run(PYTHONPATH=env["PYTHONPATH"])
    assert done.returncode == 0, done.stdout
    assert case.verify().metrics["first.rows"] == 4000
    assert not list(case.job.folder.glob("spool-*"))
    if moment == "fetching":
        assert plan.statuses == [200, 206]
    else:
        assert plan.statuses == [200]
        assert "dataset first: finished before" in done.stdout


def test_progress_is_written(case: Case) -> None:
    assert case.run().returncode == 0
    progress = KIND.engine(case.config).progress(case.job)
    assert progress.unit == "rows"
    assert progress.message


def failed(case: Case) -> tuple[str, str]:
    done = case.run()
    assert done.returncode in (2, 3, 4), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    message, hint = KIND.engine(case.config).explain_failure(case.job, done.stdout)
    return message, hint or ""


def test_a_source_of_another_hash_is_a_source_that_is_missing(case: Case) -> None:
    wrong = "0" * 64
    case.config["sources"]["raw"]["sha256"] = wrong
    message, hint = failed(case)
    assert case.run().returncode == EXIT_MISSING
    assert f"{wrong} is expected" in message
    assert "was not deleted" in hint


def test_a_dataset_without_rows_fails_and_says_where_they_went(case: Case) -> None:
    where = {"fn": "processors.convert.filter", "args": {"where": {"label": "perhaps"}}}
    case.config["datasets"] = {"a": {"from": "raw", "process": [where]}}
    message, hint = failed(case)
    assert "dataset a" in message
    assert "no rows" in message
    assert "processors.convert.filter read 201, kept 0 (201 not label is perhaps)" in hint
    assert not (case.job.outputs / "report.json").exists()


def test_a_processor_that_fails_is_named_with_its_line(case: Case) -> None:
    (case.folder / "broken_processor.py").write_text(
        "def boom(rows, *, report=None):\n    for row in rows:\n        yield {'x': 1 / 0}\n"
    )
    case.config["datasets"] = {"a": {"from": "raw", "process": ["broken_processor.boom"]}}
    argv, env = case.prepare()
    env["PYTHONPATH"] += f":{case.folder}"
    done = subprocess.run(argv, cwd=case.job.folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    message, hint = KIND.engine(case.config).explain_failure(case.job, done.stdout)
    assert "broken_processor.boom failed: ZeroDivisionError" in message
    assert "line 3" in str(hint)


def test_a_missing_file_a_wrong_hash_an_unknown_function(case: Case) -> None:
    case.config["sources"]["raw"]["sha256"] = "0" * 64
    assert "0" * 64 in failed(case)[0]
    del case.config["sources"]["raw"]["sha256"]
    case.config["datasets"] = {"a": {"from": "raw", "process": ["processors.convert.dedup"]}}
    assert "processors.convert.dedup" in failed(case)[0]
    (case.folder / "rows.jsonl").unlink()
    assert "is not there" in failed(case)[0]


def test_too_few_rows_warn(case: Case) -> None:
    case.config["datasets"] = {"a": {"from": "raw", "split": {"train": 150, "test": 100}}}
    done = case.run()
    assert done.returncode == 0
    assert any("a_test has 50 rows where 100 were asked for" in w for w in case.verify().warnings)


def test_parts_that_the_rows_themselves_name(case: Case) -> None:
    marked = [{**row, "part": "test" if i < 60 else "train"} for i, row in enumerate(rows(200))]
    write(case.folder, "rows.jsonl", marked)
    split = {"train": 100, "test": "rest", "field": "part"}
    case.config["datasets"] = {"a": {"from": "raw", "split": split}}
    assert case.run().returncode == 0
    assert {r["part"] for r in read(case, "a_train")} == {"train"}
    assert (len(read(case, "a_train")), len(read(case, "a_test"))) == (100, 60)


def test_values_that_json_does_not_know_are_dropped(case: Case) -> None:
    (case.folder / "rows.jsonl").write_text('{"a": NaN}\n{"a": 1}\n{"a": "\\ud800 half"}\n')
    case.config["datasets"] = {"a": {"from": "raw", "format": "rows"}}
    assert case.run().returncode == 0
    assert read(case, "a") == [{"a": 1}, {"a": "\ud800 half"}]


def test_a_registered_dataset_and_a_path(case: Case, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "datasets").mkdir(parents=True)
    write(project / "datasets", "own.jsonl", rows(5))
    (project / "dataset_info.json").write_text(json.dumps({"own": {"file_name": "datasets/own.jsonl"}}))
    case.project = project
    case.config["datasets"] = {"a": {"from": ["own", "./rows.jsonl"]}}
    del case.config["sources"]
    assert check(case.config, case.folder, project) == []
    done = case.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read(case, "a")) == 205
    files = KIND.inputs(case.config, tmp_path, project).files
    assert [f.name for f in files] == ["own.jsonl", "rows.jsonl"]


def test_verify_catches_a_group_in_two_parts(case: Case) -> None:
    assert case.run().returncode == 0
    test, train = (case.job.outputs / f"parts_{part}.jsonl" for part in ("test", "train"))
    test.write_text(test.read_text() + train.read_text().splitlines(keepends=True)[0])
    report_path = case.job.outputs / "report.json"
    report = json.loads(report_path.read_text())
    file = report["datasets"]["parts"]["files"][1]
    file["rows"], file["sha256"] = 41, hashlib.sha256(test.read_bytes()).hexdigest()
    report_path.write_text(json.dumps(report))
    with pytest.raises(StageFailed, match="stands both in parts_train and in parts_test"):
        case.verify()


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"datasets": {"a": {"from": "nothing"}}}, "unknown-source", "`nothing`"),
        ({"datasets": {"a": {"from": "rws"}}}, "unknown-source", "did you mean `rows`"),
        (
            {"datasets": {"a": {"from": ["rows", "b_tset"]}, "b": {"from": "rows", "split": SPLIT}}},
            "unknown-source",
            "`b_test`",
        ),
        (
            {"datasets": {"a": {"from": "b"}, "b": {"from": "rows", "split": SPLIT}}},
            "unknown-source",
            "`b_train`",
        ),
        ({"datasets": {"a": {"from": "b"}, "b": {"from": "a"}}}, "circular-datasets", "`a` → `b` → `a`"),
        ({"datasets": {"a": {"from": "a"}}}, "circular-datasets", "`a` → `a`"),
        ({"datasets": {"a": {"from": "x/y.jsonl"}}}, "missing-file", "x/y.jsonl"),
        ({"datasets": {"rows": {"from": "rows"}}}, "duplicate-output", "source and of a dataset"),
        (
            {"datasets": {"a": {"from": "rows", "split": SPLIT}, "a_test": {"from": "rows"}}},
            "duplicate-output",
            "a_test.jsonl",
        ),
        ({"datasets": {"report": {"from": "rows"}}}, "duplicate-output", "report.json"),
        ({"datasets": {"a": {"from": "rows", "split": {"train": 0.9, "test": 0.2}}}}, "bad-split", "1.1"),
        ({"sources": {"rows": {"url": "gone.jsonl"}}}, "missing-file", "gone.jsonl"),
        ({"sources": {"rows": {"url": "ftp://h.example/x"}}}, "bad-url", "ftp:"),
        ({"sources": {"rows": {"url": "http://h.example/x"}}}, "bad-url", "https"),
        ({"sources": {"rows": {"url": "https://u:p@h.example/x"}}}, "bad-url", "netrc"),
        ({"sources": {"rows": {"url": "pypi:name"}}}, "bad-url", "NAME==VERSION"),
        ({"sources": {"rows": {"url": "https://h.example/x"}}}, "no-sha256", "h.example"),
        ({"sources": {"rows": {"url": "pypi:a==1", "member": "../x"}}}, "bad-glob", "`..`"),
        (
            {"sources": {"rows": {"url": "pypi:a==1", "member": "x", "unpack": True}}},
            "conflicting-keys",
            "unpack",
        ),
        ({"sources": {"rows": {"url": "rows.jsonl", "kind": "sdist"}}}, "conflicting-keys", "pypi"),
    ],
)
def test_what_check_finds(config: dict[str, Any], code: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, "rows.jsonl", rows(3))
    found = check(
        {"sources": {"rows": {"url": "rows.jsonl"}}, "datasets": {"a": {"from": "rows"}}, **config}, tmp_path
    )
    assert [c for c, _ in found] == [code], found
    assert said in found[0][1]


def test_check_leaves_alone_what_is_known_later(tmp_path: Path) -> None:
    token = "⟦stages.other.outputs.rows⟧"
    assert check({"datasets": {"a": {"from": token}}}, tmp_path) == []
    assert check({"sources": {"s": {"url": token}}, "datasets": {"a": {"from": "s"}}}, tmp_path) == []
    assert KIND.inputs({"datasets": {"a": {"from": token}}}, tmp_path, PROJECT).files == ()
