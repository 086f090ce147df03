"""Reads a run directory into a `RunRecord`.

A run that failed, was killed, or whose files are damaged still gives a record; what could not
be read stands in its `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from residency.errors import Missing
from residency.report import rlvr
from residency.report.model import DataFile, Funnel, RunRecord, ServiceUse, StageRecord
from residency.report.reader import Reader
from residency.report.scores import integer, number, sample, score, text
from residency.run.rundir import identity
from residency.run.seen import as_seen, attempt_end

LOG_TAIL = 4000
"""Bytes of the log of a stage that did not end well."""


def collect(run_dir: Path) -> RunRecord:
    """Read a run directory. Raises Missing when there is none."""
    run_dir = Path(run_dir).absolute()
    if not run_dir.is_dir():
        raise Missing(f"there is no run at {run_dir}", "`python launch.py runs` lists the runs")
    reader = Reader(run_dir)
    raw = reader.json(run_dir / "run.json")
    if not raw and not (run_dir / "stages").is_dir():
        raise Missing(f"{run_dir} is no run: it has neither run.json nor stages/")
    lock_path = run_dir / "recipe.lock.yaml"
    failure = _mapping(raw.get("error"))
    record = RunRecord(
        folder=run_dir,
        id=text(raw.get("id")) or run_dir.name,
        name=text(raw.get("name")) or run_dir.parent.name,
        kind=text(raw.get("kind")),
        recipe=text(raw.get("recipe")),
        command=_command(raw.get("command")),
        profiles=_texts(raw.get("profiles")),
        overrides=_texts(raw.get("set")),
        status=text(raw.get("status")) or "unknown",
        started=text(raw.get("started")),
        ended=text(raw.get("ended")),
        seconds=number(raw.get("seconds")),
        warnings=list(_texts(raw.get("warnings"))),
        error=text(failure.get("message")),
        hint=text(failure.get("hint")),
        lock=reader.yaml(lock_path),
        lock_path=lock_path if lock_path.is_file() else None,
    )
    record.services = _services(raw)
    if not raw:
        reader.problems.append("run.json is missing or damaged: the run was cut short, or a file was lost")
    for entry in _entries(raw, run_dir):
        record.stages.append(_stage(entry, run_dir, reader, alive=_alive(raw)))
    _settle(record, alive=_alive(raw))
    record.problems = reader.problems
    return record


def _services(raw: Mapping[str, Any]) -> list[ServiceUse]:
    listed = raw.get("services")
    return [
        ServiceUse(
            name=text(entry.get("name")),
            engine=text(entry.get("engine")),
            status=text(entry.get("status")),
            restarts=integer(entry.get("restarts")) or 0,
            used_by=_texts(entry.get("used_by")),
            url=text(entry.get("url")),
            error=text(entry.get("error")),
        )
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and entry.get("name")
    ]


def _entries(raw: Mapping[str, Any], run_dir: Path) -> list[dict[str, Any]]:
    """The stages by run.json, or by the folders when it does not list them."""
    listed = raw.get("stages")
    if isinstance(listed, list) and listed:
        return [entry for entry in listed if isinstance(entry, dict) and entry.get("name")]
    folder = run_dir / "stages"
    return [{"name": path.name} for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _stage(entry: Mapping[str, Any], run_dir: Path, reader: Reader, *, alive: bool) -> StageRecord:
    name = text(entry.get("name"))
    folder = _folder(entry, run_dir)
    current = reader.json(folder / "state.json") if folder else {}
    saw = _mapping(entry.get("saw"))
    state, since = as_seen(None if entry.get("reused") else saw, current, identity(run_dir))
    error = state.get("error") or entry.get("error")
    error = error if isinstance(error, dict) else {"message": text(error)}
    listed = text(entry.get("status"))
    status = listed or text(state.get("status")) or "waiting"
    # The stage's own state is written first: after a SIGKILL it knows more than run.json.
    if status in ("waiting", "running", "unknown") and state.get("status") and listed != "waiting":
        status = text(state["status"])
    if entry.get("reused") and status == "done":
        status = "reused"
    if status == "running" and not (alive or _alive(state)):
        status = "interrupted"
    record = StageRecord(
        name=name,
        kind=text(entry.get("kind")) or text(state.get("kind")),
        engine=text(entry.get("engine")) or text(state.get("engine")),
        engine_version=text(state.get("engine_version")),
        key=text(entry.get("key")) or text(state.get("key")),
        folder=folder,
        needs=_texts(entry.get("needs")),
        status=status,
        reason=text(entry.get("reason")),
        seconds=number(state.get("seconds")) if status == "reused" else number(entry.get("seconds")),
        started=text(state.get("started")),
        ended=text(state.get("ended")),
        attempts=integer(state.get("attempts")),
        since=since,
        resumed_from=text(state.get("resumed_from")),
        error=text(error.get("message")),
        hint=text(error.get("hint")),
        warnings=_texts(state.get("warnings")),
        figures=_mapping(state.get("metrics")),
        peak_memory=integer(state.get("peak_memory")),
        gpus=integer(state.get("gpus")),
        outputs={k: text(v) for k, v in _mapping(state.get("outputs")).items()},
    )
    if record.seconds is None:
        record.seconds = number(state.get("seconds"))
    if status in ("waiting", "running", "skipped"):
        record.seconds = record.seconds or None
    # A stage that was not run in this run shows nothing of what an older run left there.
    if folder and status not in ("waiting", "skipped"):
        # Begun anew by another run, its steps are not this one's.
        upto = integer(saw.get("step")) if current.get("resumed_from") else None
        _contents(record, folder, reader, upto=upto)
    return record


def _contents(record: StageRecord, folder: Path, reader: Reader, *, upto: int | None) -> None:
    """What lies in the stage's folder, less what another run has added since this one's step `upto`."""
    outputs = folder / "outputs"
    stage = reader.yaml(folder / "stage.yaml")
    record.config = rlvr.recipe(stage)
    commands = reader.text(folder / "command.txt").splitlines()
    record.command = "\n".join(line for line in commands if not line.startswith("#")).strip()
    record.curve = _curve(reader.rows(folder / "metrics.jsonl"))
    if record.status in ("failed", "interrupted", "running"):
        end = attempt_end(folder / "log.txt", record.attempts or 0) if record.since else None
        record.log_tail = reader.tail(folder / "log.txt", LOG_TAIL, end)
    if record.kind == "rlvr":
        record.rlvr = rlvr.read(folder, stage, reader, upto=(upto or 0) if record.since else None)
        record.funnels = [funnel for found in record.rlvr.prompts if (funnel := _prompts(found, record))]
    if record.since:
        record.curve = [row for row in record.curve if row["step"] <= (upto or 0)]
        return
    results = reader.json(outputs / "results.json")
    listed = results.get("scores")
    figures = listed if isinstance(listed, list) else []
    record.scores = [found for row in figures if isinstance(row, dict) and (found := score(row))]
    record.asked = {text(k): _mapping(v) for k, v in _mapping(results.get("tasks")).items()}
    record.model, record.adapter = text(results.get("model")), text(results.get("adapter"))
    record.lm_eval_version = text(results.get("lm_eval_version"))
    if record.scores:
        rows = reader.rows(outputs / "samples.jsonl")
        record.samples = [sample(row, position) for position, row in enumerate(rows)]
    made = reader.json(outputs / "report.json")
    if record.kind == "contamination":
        record.leaks = made
        return
    record.funnels = record.funnels or read_funnels(made)
    record.files = read_files(made)


def _curve(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: after a resume the step that was done again counts, not the lost one.

    Rows of the same step (a loss and an eval_loss) are put together.
    """
    steps: dict[int, dict[str, Any]] = {}
    for row in rows:
        step = integer(row.get("step"))
        if step is not None:
            # A loss of null beside a learning rate is one that was no number; other nulls say nothing.
            lost = row.get("loss", 0) is None and "learning_rate" in row
            kept = {k: v for k, v in row.items() if v is not None or (lost and k == "loss")}
            steps.setdefault(step, {}).update(kept)
    return [steps[step] for step in sorted(steps)]


def read_funnels(report: Mapping[str, Any]) -> list[Funnel]:
    """The counts of a data stage's report.json: one funnel for each processor of each dataset.

    A processor that took nothing away has none, unless its dataset would have none at all. A corpus
    has one funnel.
    """
    found = [_funnel("records", report)] if "records" in report and "read" in report else []
    for name, dataset in _mapping(report.get("datasets")).items():
        dataset = _mapping(dataset)
        steps = dataset.get("processors")
        counted = [
            (f"{name}: {text(step.get('function')) or 'read'}", step)
            for step in (steps if isinstance(steps, list) else [])
            if isinstance(step, dict)
        ]
        counted.append((f"{name}: put into its format", _mapping(dataset.get("formatted"))))
        funnels = [
            _funnel(title, counts) for title, counts in counted if "read" in counts or "kept" in counts
        ]
        telling = [funnel for funnel in funnels if funnel.dropped or funnel.read != funnel.kept]
        found += telling or funnels[:1]
    return found


def read_files(report: Mapping[str, Any]) -> list[DataFile]:
    """The files that a data or corpus stage made, by its report.json."""
    found = [
        DataFile(name, rows, {})
        for name, key in (("corpus", "records"), ("corpus.jsonl", "passages"))
        if (rows := integer(report.get(key))) is not None
    ]
    for dataset in _mapping(report.get("datasets")).values():
        files = _mapping(dataset).get("files")
        for file in files if isinstance(files, list) else []:
            if isinstance(file, dict) and (rows := integer(file.get("rows"))) is not None:
                labels = {text(k): n for k, v in _mapping(file.get("labels")).items() if (n := integer(v))}
                found.append(DataFile(text(file.get("name")), rows, labels))
    return found


def _funnel(name: str, counts: Mapping[str, Any]) -> Funnel:
    raw = counts.get("dropped")
    if isinstance(raw, list):
        entries = [entry for entry in raw if isinstance(entry, dict)]
        dropped: dict[str, Any] = {text(entry.get("reason")): entry.get("n") for entry in entries}
    else:
        dropped = {"dropped": raw} if isinstance(raw, int) else _mapping(raw)
    whole = {text(k): n for k, v in dropped.items() if (n := integer(v))}
    return Funnel(name, integer(counts.get("read")), integer(counts.get("kept")), whole)


def _prompts(found: rlvr.Prompts, record: StageRecord) -> Funnel | None:
    """The questions of one split; None where none was left out."""
    if not found.dropped:
        return None
    limit = record.rlvr.limit if record.rlvr else None
    reason = f"longer than {limit:,} tokens" if limit else "too long"
    name = "questions to train on" if found.split == "train" else "questions to validate on"
    return Funnel(name, found.read, found.kept, {reason: found.dropped})


def _settle(record: RunRecord, *, alive: bool) -> None:
    """Say of a run whose launcher was killed what its stages show."""
    states = [stage.status for stage in record.stages]
    if record.status in ("running", "unknown") and "running" not in states and not alive:
        if "failed" in states:
            record.status = "failed"
        elif record.stages and all(s in ("done", "reused", "skipped") for s in states):
            # It may have been killed between the last stage and the last line of run.json.
            record.status = "done"
        else:
            record.status = "interrupted"
    if not record.seconds:
        times = [stage.seconds for stage in record.stages if stage.seconds and not stage.reused]
        record.seconds = sum(times) if times else None


def _folder(entry: Mapping[str, Any], run_dir: Path) -> Path | None:
    name, listed = text(entry.get("name")), text(entry.get("folder"))
    candidates = [run_dir / "stages" / name]
    if listed:
        candidates.append(run_dir.parent.parent / listed)
    return next((path.resolve() for path in candidates if path.is_dir()), None)


def _alive(record: Mapping[str, Any]) -> bool:
    """Whether the process that a run.json or a state.json names still runs."""
    from residency.run import procs

    pid = integer(record.get("pid"))
    return bool(pid and pid > 0 and procs.alive(pid, text(record.get("pid_started")) or None))


def _command(value: Any) -> str:
    if isinstance(value, list):
        import shlex

        return shlex.join(text(part) for part in value)
    return text(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text(item) for item in value) if isinstance(value, list) else ()


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
