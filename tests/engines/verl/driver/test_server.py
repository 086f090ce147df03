"""The rollout server without Ray: an object whose methods verl calls."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from tiny_model import make_tiny_model

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,  # imports verl
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
]

from residency.engines.verl.driver.server import Server, ServerSettings, load_model  # noqa: E402
from residency.engines.verl.driver.weights import buckets  # noqa: E402

PROMPT = [5, 9, 13, 40]
SETTINGS = ServerSettings(
    model="", device="cpu", dtype="float32", from_training=False, prompt_length=16, response_length=8
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return replace(SETTINGS, model=str(make_tiny_model(tmp_path_factory.mktemp("model"))))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def ask(server: Server, prompt: list[int] = PROMPT, **params: Any) -> Coroutine[Any, Any, Any]:
    return server.generate(prompt_ids=prompt, sampling_params={"logprobs": True, **params}, request_id="r")


def test_requests_are_answered_with_their_log_probs(settings: ServerSettings) -> None:
    async def work() -> list[Any]:
        server = Server(settings)
        await server.set_global_steps(3)
        return await asyncio.gather(ask(server), ask(server, max_tokens=2), ask(server, logprobs=False))

    full, short, plain = run(work())
    assert len(full.token_ids) == len(full.log_probs) == 8  # response_length
    assert len(short.token_ids) == 2
    assert plain.log_probs is None
    assert full.stop_reason == "completed"
    assert full.extra_fields["global_steps"] == 3


def test_the_same_step_gives_the_same_answers_and_another_step_others(settings: ServerSettings) -> None:
    async def work(steps: int) -> list[list[int]]:
        server = Server(settings)
        await server.set_global_steps(steps)
        return sorted(o.token_ids for o in await asyncio.gather(*[ask(server) for _ in range(4)]))

    first = run(work(1))
    assert first == run(work(1)) != run(work(2))
    assert len(set(map(tuple, first))) == 4


def test_a_faulty_request_is_its_callers_alone(settings: ServerSettings) -> None:
    async def work() -> list[Any]:
        server = Server(settings)
        asked = (ask(server), ask(server, stop=["x"]), ask(server, [1] * 1024), ask(server, []))
        return await asyncio.gather(*asked, return_exceptions=True)

    good, parameter, long, empty = run(work())
    assert len(good.token_ids) == 8
    assert "stop=['x']" in str(parameter)
    assert "leaves no room" in str(long)
    assert "leaves no room" in str(empty)


def test_a_failure_reaches_everyone_who_waits_and_the_server_lives(settings: ServerSettings) -> None:
    async def work() -> tuple[list[Any], Any]:
        server = Server(settings)
        step = server._decoder.step

        def fail() -> list[Any]:
            server._decoder.step = step  # type: ignore[method-assign]
            raise RuntimeError("out of memory")

        server._decoder.step = fail  # type: ignore[method-assign]
        failed = await asyncio.gather(ask(server), ask(server), return_exceptions=True)
        return failed, await ask(server)

    failed, later = run(work())
    assert [str(error) for error in failed] == ["out of memory"] * 2
    assert len(later.token_ids) == 8


def test_abort_ends_requests_with_what_they_have_and_later_ones_wait(settings: ServerSettings) -> None:
    async def work() -> tuple[Any, Any, Any]:
        server = Server(replace(settings, response_length=500, prompt_length=500))
        first = asyncio.create_task(ask(server, ignore_eos=True))
        while not server._decoder.running or not server._decoder.running[0].tokens:
            await asyncio.sleep(0.005)
        await server.abort_all_requests()
        aborted = await first
        second = asyncio.create_task(ask(server, max_tokens=3))
        await asyncio.sleep(0.1)
        waited = not second.done()
        await server.resume_generation()
        return aborted, waited, await second

    aborted, waited, second = run(work())
    assert aborted.stop_reason == "aborted"
    assert 0 < len(aborted.token_ids) == len(aborted.log_probs) < 500
    assert waited
    assert second.stop_reason == "completed"


def test_a_server_that_leaves_rotation_rejects(settings: ServerSettings) -> None:
    async def work() -> Any:
        server = Server(settings)
        await server.abort_all_requests(reject_request=True)
        return await ask(server)

    rejected = run(work())
    assert (rejected.stop_reason, rejected.token_ids) == ("aborted", [])


def test_weights_come_from_training_and_go_while_it_sleeps(settings: ServerSettings) -> None:
    policy, _, _ = load_model(settings)
    prompt = torch.tensor([PROMPT])
    expected = policy.generate(prompt, max_new_tokens=6, do_sample=False)[0, 4:].tolist()

    async def work() -> Any:
        server = Server(replace(settings, from_training=True))
        with pytest.raises(RuntimeError, match="have not come"):
            await ask(server)
        for bucket in buckets(policy.state_dict().items(), torch.float32, 50_000, frozenset()):
            await server.load_weights(bucket)
        await server.weights_complete(1)
        answer = await ask(server, temperature=0, max_tokens=6)
        await server.sleep()
        with pytest.raises(RuntimeError, match="have not come"):
            await ask(server)
        return answer

    assert run(work()).token_ids == expected


class TestAnnounced:
    def test_they_are_begun_together_in_one_order_however_they_come(self, settings: ServerSettings) -> None:
        async def late(server: Server, seed: int, seconds: float) -> None:
            await asyncio.sleep(seconds)
            await ask(server, seed=seed)

        async def work(delays: list[float]) -> list[list[int | None]]:
            server = Server(settings)
            begun: list[list[int | None]] = []
            admit = server._decoder.admit

            def noted(requests: Any) -> Any:
                begun.append([request.sampling.seed for request in requests])
                return admit(requests)

            server._decoder.admit = noted  # type: ignore[method-assign]
            await server.announce(len(delays))
            await asyncio.gather(*(late(server, seed, wait) for seed, wait in enumerate(delays)))
            return begun

        first = run(work([0.0, 0.3, 0.6]))
        assert len(first) == 1
        assert first == run(work([0.6, 0.0, 0.3]))

    def test_one_that_does_not_come_holds_up_nobody(
        self, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("residency.engines.verl.driver.server._PATIENCE", 0.1)

        async def work() -> Any:
            server = Server(settings)
            await server.announce(5)
            return await ask(server)

        assert len(run(work()).token_ids) == 8


def test_a_seed_gives_the_same_answer_on_every_server_and_for_each_prompt_another(
    settings: ServerSettings,
) -> None:
    async def work(replica: int) -> list[list[int]]:
        server = Server(settings, replica)
        answers = await asyncio.gather(ask(server, seed=7), ask(server, [*PROMPT, 41], seed=7))
        return [answer.token_ids for answer in answers]

    first = run(work(0))
    assert first == run(work(1))
    assert first[0] != first[1]
