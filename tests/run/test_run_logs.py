"""The log: invalid bytes, progress bars, floods; and secrets, which reach no file and no command line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_engine import make_plan
from hypothesis import given
from hypothesis import strategies as st
from run_case import Heard, Launchers

from residency.errors import Missing
from residency.recipe import tokens
from residency.run import lock
from residency.run.logs import BAR_SECONDS, LONGEST_LINE, Follower, LineFolder, tail
from residency.run.redact import Redactor, looks_secret
from residency.run.runner import execute

SECRET = "hf_Xy7Tq9ZpLm42-quite-secret"


def folded(pieces: list[bytes], *secrets: str) -> bytes:
    folder = LineFolder(Redactor(secrets))
    return b"".join(folder.feed(piece, 0.0) for piece in pieces) + folder.finish()


@pytest.mark.parametrize(
    ("printed", "log"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"a", b"a\n"),
        (b"", b""),
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"\r 10%\r 20%\r100%\n", b"100%\n"),
        (b"10%\r20%\r", b"20%\n"),
        (b"bad \xff\xfe byte\n", "bad \ufffd\ufffd byte\n".encode()),
        ("\u00e9\u4e2d\n".encode(), "\u00e9\u4e2d\n".encode()),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b[A\n", b"red text\n"),
        (b"nul\0l\n", b"null\n"),
        (b"\n\n", b"\n\n"),
    ],
)
def test_what_the_log_keeps(printed: bytes, log: bytes) -> None:
    assert folded([printed]) == log
    # However it comes: byte by byte, nothing is different.
    assert folded([printed[i : i + 1] for i in range(len(printed))]) == log


@given(st.lists(st.binary(max_size=30)), st.sampled_from(["secret-1", "\u00e9t\u00e9-9"]))
def test_any_bytes_become_whole_lines_of_text(pieces: list[bytes], secret: str) -> None:
    pieces = [*pieces, secret.encode(), b"x\n"]
    log = folded(pieces, secret)
    assert log.endswith(b"\n")
    assert secret not in log.decode("utf-8")
    assert b"\r" not in log.replace(b"\r\n", b"")


def test_a_bar_is_written_now_and_then_while_it_is_redrawn() -> None:
    folder = LineFolder(Redactor([]))
    assert folder.feed(b"\r 1%", 0.0) == b""
    assert folder.feed(b"\r 2%", BAR_SECONDS + 1) == b" 2%\n"
    assert folder.feed(b"\r 3%", BAR_SECONDS + 2) == b""
    assert folder.feed(b"\r 4%\n", BAR_SECONDS + 3) == b" 4%\n"


def test_a_line_without_end_takes_bounded_memory_and_hides_no_secret() -> None:
    folder = LineFolder(Redactor([SECRET]))
    out = b""
    for _ in range(40):
        out += folder.feed(b"x" * (LONGEST_LINE // 9) + SECRET.encode(), 0.0)
        assert len(folder._rest) <= LONGEST_LINE * 2
    out += folder.finish()
    assert SECRET.encode() not in out.replace(b"\n", b"")
    assert out.count(b"x") == 40 * (LONGEST_LINE // 9)


def test_tail_and_follower(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    follower = Follower(path, 4)
    assert follower.lines() == []
    with path.open("a") as stream:
        stream.write("one\ntw")
        stream.flush()
        assert follower.lines() == ["one"]
        stream.write("o\n")
    assert follower.lines() == ["two"]
    assert tail(path, 4) == "one\ntwo\n"
    assert tail(path, 0, size=6) == "two\n"
    assert tail(tmp_path / "none") == ""


def test_engine_output_with_bad_bytes_and_bars(runs: Path, heard: Heard) -> None:
    raw = b"caf\xe9\n" + b"".join(b"\r%d%%" % i for i in range(0, 101, 10)) + b"\nend\n"
    plan = make_plan(runs, {"a": {"steps": 1, "print_hex": raw.hex()}})
    assert execute(plan, runs=runs, view=heard, command=[]).status == "done"
    log = (plan.stages[0].folder / "log.txt").read_text(encoding="utf-8")
    assert log.splitlines()[1:] == ["caf\ufffd", "100%", "end", "step 1"]
    assert heard.lines == ["caf\ufffd", "100%", "end", "step 1"]


def test_a_flood_of_lines_is_taken_fast(runs: Path, heard: Heard) -> None:
    plan = make_plan(runs, {"a": {"steps": 1, "flood": 100_000}})
    began = time.monotonic()
    before = os.times()
    assert execute(plan, runs=runs, view=heard, command=[]).status == "done"
    spent = os.times().user + os.times().system - before.user - before.system
    assert len(heard.lines) == 100_001
    assert time.monotonic() - began < 30
    assert spent < 2, "seconds of the launcher's own time"


# ---- secrets


def planted(runs: Path, heard: Heard, **config: object) -> Path:
    """Run a stage that prints all it knows of a secret; returns the runs folder."""
    env = {"HUB_TOKEN": tokens.make("secret:MY_TOKEN"), "AUTH": f"Bearer {tokens.make('secret:MY_TOKEN')}"}
    stage = {"steps": 2, "print_env": ["HUB_TOKEN", "AUTH", "MY_TOKEN"], "env": env, **config}
    plan = make_plan(runs, {"a": stage}, overrides=(f"env.X={SECRET}",))
    execute(plan, runs=runs, view=heard, command=["launch.py", "demo.yaml", "--set", f"env.X={SECRET}"])
    return plan.stages[0].folder


def assert_nowhere(root: Path, secret: str) -> None:
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


def test_a_secret_reaches_the_engine_and_no_file(
    runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    folder = planted(runs, heard, crash_at=2)
    assert "HUB_TOKEN is ***" in heard.lines
    assert "AUTH is ***" in heard.lines
    assert_nowhere(runs, SECRET)
    assert SECRET not in f"{heard.messages}{heard.lines}"
    command = (folder / "command.txt").read_text()
    assert 'HUB_TOKEN="$MY_TOKEN"' in command
    assert "AUTH='Bearer '\"${MY_TOKEN}\"" in command
    text = ((runs / "demo" / "latest").resolve() / lock.FILE).read_text()
    assert "${secret:MY_TOKEN}" in text
    assert "env.X=***" in text


def test_a_secret_that_nobody_declared_is_masked_too(
    runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    plan = make_plan(runs, {"a": {"steps": 1, "print_env": ["WANDB_API_KEY"]}})
    execute(plan, runs=runs, view=heard, command=[])
    assert "WANDB_API_KEY is ***" in heard.lines
    assert_nowhere(runs, "0123456789abcdef")


def test_a_secret_is_on_no_command_line(runs: Path, launchers: Launchers) -> None:
    token = tokens.make("secret:MY_TOKEN")
    stages = {"a": {"steps": 60, "seconds": 0.05, "children": True, "env": {"HUB_TOKEN": token}}}
    process = launchers.start(stages, MY_TOKEN=SECRET)
    launchers.wait_for(process, "progress a 1")
    left = launchers.left()
    assert len(left) == 6
    for pid in left:
        assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    process.terminate()
    assert process.wait(20) == 5


def test_a_secret_that_is_not_set(runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(Missing, match=r"a secret is not set: MY_TOKEN \(stage a\)") as caught:
        planted(runs, heard)
    assert caught.value.hint == "export MY_TOKEN=…"
    assert not runs.exists()


def test_forms_in_which_a_secret_may_turn_up() -> None:
    redact = Redactor(['a"b/c d+e%f', "-----BEGIN KEY-----\nMIIEow/IBAAK\n-----END KEY-----\n"])
    assert redact.text('{"x": "a\\"b/c d+e%f"}') == '{"x": "***"}'
    assert redact.text("?t=a%22b%2Fc%20d%2Be%25f&") == "?t=***&"
    assert redact.text("a MIIEow/IBAAK b") == "a *** b"
    assert redact.tree({"k": ["MIIEow/IBAAK", 3]}) == {"k": ["***", 3]}


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "hf_abcdefgh1234", True),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCY", True),
        ("DB_PASSWORD", "correct-horse-42", True),
        ("SSH_AUTH_SOCK", "/tmp/ssh-1/agent.2", False),
        ("KEY_FILE", "/etc/keys/id_1", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("SORT_KEY", "name", False),
        ("MONKEY", "abcdefgh12345678", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert looks_secret(name, value) is secret
