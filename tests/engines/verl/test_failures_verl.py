"""Why a training failed, from logs as verl and Ray write them."""

from __future__ import annotations

import pytest

from residency.engines.verl import failures

TRACE = """\
(AgentLoopWorkerTQ pid=7) ray.exceptions.ActorDiedError: The actor died unexpectedly.
(AgentLoopWorkerTQ pid=7) \tclass_name: Server
(AgentLoopWorkerTQ pid=7) ERROR:2026-11-21 09:32:56,343:Error in _run_prompt for uid=00000003-000002
Error executing job with overrides: []
Traceback (most recent call last):
  File "trainer_base.py", line 552, in step
ray.exceptions.RayTaskError({kind}): \x1b[36mray::TaskRunner.run()\x1b[39m (pid=5, ip=192.0.2.2)
  File "trainer.py", line 60, in fit
residency.engines.verl.driver.{kind}: {text}
Training Progress:   0%|          | 0/3 [00:07<?, ?it/s]
error: verl failed
"""


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("record.TooManyUnavailable", "step 1: 16 of 16 samples have no reward", "16 of 16 samples have no"),
        ("record.Diverged", "step 4: the policy's outputs are not numbers any more", "has diverged"),
        ("record.RolloutsFailed", "step 2: 5 of 16 rollouts failed", "5 of 16 rollouts failed"),
        ("alive.WorkerDied", "a rollout server died (process 7)", "a rollout server died (process 7)"),
    ],
)
def test_ours_in_one_sentence(kind: str, text: str, said: str) -> None:
    message, hint = failures.explain(TRACE.format(kind=kind, text=text))
    assert said in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert hint


def test_a_death_with_a_cause_of_its_own() -> None:
    message, _ = failures.explain("RuntimeError: CUDA out of memory\n" + TRACE.format(kind="a.B", text="x"))
    assert message == "the GPU ran out of memory"


def test_a_death_without_one() -> None:
    text = "\n".join(line for line in TRACE.splitlines() if "_run_prompt" not in line)
    message, hint = failures.explain(text.format(kind="x.ActorDiedError", text="it died"))
    assert message == "a process of verl died (Server)"
    assert hint is not None
    assert "memory" in hint


def test_what_befell_a_rollout() -> None:
    log = (
        "(Worker pid=7) ERROR: Error in _run_prompt for uid=1\n"
        "(Worker pid=7) Traceback (most recent call last):\n"
        "(Worker pid=7) ray.exceptions.RayTaskError(ValueError): ray::Server.generate()\n"
        "(Worker pid=7) ValueError: a prompt of 900 tokens leaves no room\n{last}\nerror: verl failed\n"
    )
    assert failures.explain(log.format(last="RuntimeError: nothing came")) == (
        "the rollouts failed: ValueError: a prompt of 900 tokens leaves no room",
        None,
    )
    message, _ = failures.explain(log.format(last="a.RolloutsFailed: step 1: 8 of 8 rollouts failed"))
    assert message.startswith("step 1: 8 of 8 rollouts failed; one of them: ValueError: a prompt of 900")


def test_a_rollout_that_asked_a_server_that_is_no_more() -> None:
    died = "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."
    log = (
        "(Worker pid=7) ERROR: Error in _run_prompt for uid=1\n"
        "(Worker pid=7) Traceback (most recent call last):\n"
        f"(Worker pid=7) {died}\nRuntimeError: nothing came\nerror: verl failed\n"
    )
    message, hint = failures.explain(log)
    assert message == "a rollout server died"
    assert "memory" in str(hint)


def test_what_the_stage_itself_said() -> None:
    text = "ActorDiedError: x\n\tclass_name: A\nerror: the trained model holds no numbers\nhint: lower it\n"
    assert failures.explain(text) == ("the trained model holds no numbers", "lower it")


def test_the_last_error_when_nothing_is_known_of_it() -> None:
    text = "Traceback (most recent call last):\nRuntimeError: some odd thing\nerror: verl failed\n"
    assert failures.explain(text) == ("RuntimeError: some odd thing", None)
    assert failures.explain("") == ("it printed nothing", None)


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", "the disk is full", "checkpoints.max_keep"),
        (
            "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos",
            "the disk is full",
            "free",
        ),
        ("OSError: [Errno 98] Address already in use", "a port that verl chose is taken", "run the same"),
        ("Exception: The current node timed out during startup.", "Ray did not start", "/dev/shm"),
        ("RuntimeError: Failed to start GCS. Last 3 lines", "Ray did not start", "ulimit -n"),
        (
            "ConnectionError: Could not find any running Ray instance.",
            "cluster does not answer",
            "ray status",
        ),
        ("ValueError: Total available GPUs 1 is less than total desired GPUs 4", "verl wants 4 GPUs", "set"),
        ("OSError: AF_UNIX path length cannot exceed 107 bytes", "too long for Ray's sockets", "TMPDIR"),
    ],
)
def test_what_the_machine_lacks(line: str, said: str, hint: str) -> None:
    process = "(TaskRunner pid=7) "
    lines = (f"{process}Traceback (most recent call last):", process + line, "error: verl failed")
    message, told = failures.explain("\n".join(lines))
    assert said in message
    assert told is not None
    assert hint in told
