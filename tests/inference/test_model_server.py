"""The server over HTTP: its forms, its bounds, clients that go away."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served_model import ServedModel

from residency.inference.decoder import Decoder

TEXTS = [
    "Were the subjects of this study human?",
    "A randomised controlled trial of 120 patients",
    "Thirty rats were given 5 mg/kg",
    "system",
    "The abstract names patients. " * 6,
]


def ids(loaded: Any, text: str) -> list[int]:
    return list(loaded.tokenizer(text)["input_ids"])


def said(loaded: Any, tokens: list[int]) -> str:
    return str(
        loaded.tokenizer.decode([t for t in tokens if t not in loaded.stop_ids], skip_special_tokens=True)
    )


def test_sixteen_clients_are_answered_as_if_each_were_alone(
    served: ServedModel, loaded: Any, alone: Any
) -> None:
    asked = [(TEXTS[at % 5] + " " * (at % 2) + str(at), 4 + at) for at in range(16)]
    want = [said(loaded, alone(ids(loaded, text), n)) for text, n in asked]
    before = served.metric("residency_model_batch_answers_count")
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda a: served.complete(a[0], max_tokens=a[1], temperature=0), asked))
    assert [one["choices"][0]["text"] for one in got] == want
    passes = served.metric("residency_model_batch_answers_count") - before
    assert passes < sum(n for _, n in asked) / 2, "the answers were made together"
    for one, (text, _) in zip(got, asked, strict=True):
        made = one["usage"]["completion_tokens"]
        assert one["usage"] == {
            "prompt_tokens": len(ids(loaded, text)),
            "completion_tokens": made,
            "total_tokens": len(ids(loaded, text)) + made,
        }


def test_the_form_of_a_completion(served: ServedModel) -> None:
    found = served.complete(TEXTS[0], max_tokens=3, temperature=0, model="tiny")
    assert found["object"] == "text_completion"
    assert found["id"].startswith("cmpl-")
    assert found["model"] == "tiny"
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "length"
    assert (choice["index"], choice["logprobs"]) == (0, None)


def test_a_chat_is_templated(served: ServedModel, loaded: Any, alone: Any) -> None:
    talk = [{"role": "user", "content": "Hi"}]
    text = loaded.tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    prompt = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = served.chat("Hi", max_tokens=8, temperature=0)
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"] == {
        "role": "assistant",
        "content": said(loaded, alone(prompt, 8)),
    }
    assert found["usage"]["prompt_tokens"] == len(prompt)


def test_a_stream_says_what_the_whole_answer_does(served: ServedModel) -> None:
    more = {"max_tokens": 12, "temperature": 1.0, "seed": 7, "n": 2}
    whole = served.chat("Hello", **more)
    body = {
        "messages": [{"role": "user", "content": "Hello"}],
        **more,
        "stream_options": {"include_usage": True},
    }
    events = served.stream("/v1/chat/completions", body)
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"] == whole["usage"]
    texts, finishes = ["", ""], [None, None]
    for event in events[:-2]:
        assert event["object"] == "chat.completion.chunk"
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        finishes[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert finishes == [choice["finish_reason"] for choice in whole["choices"]]
    texts = served.stream("/v1/completions", {"prompt": "Hello", "max_tokens": 5, "temperature": 0})
    joined = "".join(event["choices"][0]["text"] for event in texts[:-1])
    assert joined == served.complete("Hello", max_tokens=5, temperature=0)["choices"][0]["text"]


def test_seeds_and_several_answers(served: ServedModel) -> None:
    more = {"max_tokens": 10, "temperature": 1.0, "n": 3}
    one, two = (served.complete("x", seed=5, **more) for _ in range(2))
    texts = [choice["text"] for choice in one["choices"]]
    assert texts == [choice["text"] for choice in two["choices"]]
    assert len(set(texts)) == 3
    assert served.complete("x", seed=6, **more)["choices"][0]["text"] != texts[0]
    assert served.complete("x", **more)["choices"] != served.complete("x", **more)["choices"]
    assert one["usage"]["prompt_tokens"] == 1, "a prompt counts once"


def test_a_stop_text_ends_an_answer(served: ServedModel) -> None:
    whole = served.complete("x", max_tokens=20, temperature=1.0, seed=1)["choices"][0]["text"]
    stop = whole[6:9]
    found = served.complete("x", max_tokens=20, temperature=1.0, seed=1, stop=["@@@", stop])
    (choice,) = found["choices"]
    assert choice["text"] == whole[: whole.find(stop)]
    assert choice["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens"] < 20
    body = {"prompt": "x", "max_tokens": 20, "temperature": 1.0, "seed": 1, "stop": stop}
    streamed = served.stream("/v1/completions", body)[:-1]
    assert "".join(event["choices"][0]["text"] for event in streamed) == choice["text"]


def test_prompts_of_tokens_and_several(served: ServedModel, loaded: Any) -> None:
    one = served.complete(TEXTS[0], max_tokens=4, temperature=0)["choices"][0]["text"]
    two = served.complete(TEXTS[1], max_tokens=4, temperature=0)["choices"][0]["text"]
    for prompt in ([TEXTS[0], TEXTS[1]], [ids(loaded, TEXTS[0]), ids(loaded, TEXTS[1])]):
        found = served.complete(prompt, max_tokens=4, temperature=0)
        assert [choice["text"] for choice in found["choices"]] == [one, two]
        assert [choice["index"] for choice in found["choices"]] == [0, 1]


def test_log_probabilities_as_lm_eval_reads_them(served: ServedModel, loaded: Any, alone: Any) -> None:
    """What `local-completions` asks and takes: sums over the continuation, whether it is the greedy one."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    context, continuation = ids(loaded, TEXTS[0]), ids(loaded, " yes no")
    likely = alone([*context], 2)
    body = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    prompts = [[*context, *continuation], [*context, *likely]]
    found = served.complete(prompts, **body)
    read = LocalCompletionsAPI.parse_logprobs(found, prompts, [len(context)] * 2)
    import torch

    for (value, greedy), prompt in zip(read, prompts, strict=True):
        log_probs = alone.model(torch.tensor([prompt])).logits[0].detach().log_softmax(-1)
        places = range(len(context) - 1, len(prompt) - 1)
        assert value == pytest.approx(sum(float(log_probs[at, prompt[at + 1]]) for at in places), abs=1e-4)
        assert greedy == all(int(log_probs[at].argmax()) == prompt[at + 1] for at in places)
    assert [greedy for _, greedy in read] == [False, True]
    logprobs = found["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert "".join(logprobs["tokens"]) == found["choices"][0]["text"]
    assert logprobs["text_offset"][1] == len(logprobs["tokens"][0])
    scored = served.complete(prompts[0], logprobs=0, echo=True, max_tokens=0)
    assert scored["usage"]["completion_tokens"] == 0
    assert len(scored["choices"][0]["logprobs"]["tokens"]) == len(prompts[0])


def test_log_probabilities_of_a_chat(served: ServedModel) -> None:
    found = served.chat("Hi", max_tokens=3, temperature=0, logprobs=True, top_logprobs=2)
    content = found["choices"][0]["logprobs"]["content"]
    assert len(content) == 3
    for one in content:
        assert len(one["top_logprobs"]) == 2
        assert one["top_logprobs"][0]["logprob"] == one["logprob"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/completions", b"{", 400, "not JSON"),
        ("/v1/completions", b'{"prompt": "\xff"}', 400, "not UTF-8"),
        ("/v1/completions", {"prompt": ""}, 400, "it has no token"),
        ("/v1/completions", {"prompt": [99999]}, 400, "no token 99999"),
        ("/v1/completions", {"prompt": "x", "model": "gpt-9"}, 404, "this server has `tiny`"),
        ("/v1/completions", {"prompt": "x", "n": 129}, 400, "at most 128"),
        ("/v1/completions", b'{"prompt": "' + b"x" * 9_000_000 + b'"}', 413, "too large"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}, 400, "must be a text"),
        ("/v1/nothing", {}, 404, "POST /v1/chat/completions"),
        ("/v1/chat/completions", None, 405, "there are"),
    ],
)
def test_errors_have_openais_form(served: ServedModel, path: str, body: Any, status: int, words: str) -> None:
    got, told, _ = served.ask(path, body)
    assert got == status, told
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert words in told["error"]["message"]
    assert served.ask("/health")[0] == 200


@pytest.mark.parametrize("tokens", [None, 5, 1])
def test_a_prompt_that_is_too_long(served: ServedModel, loaded: Any, tokens: int | None) -> None:
    prompt = [5] * (loaded.context - (tokens or 1) + 1)
    status, told, _ = served.ask("/v1/completions", {"prompt": prompt, "max_tokens": tokens or 1})
    assert (status, told["error"]["code"]) == (400, "context_length_exceeded")
    assert "1,024 tokens" in told["error"]["message"]
    assert told["error"]["param"] == "prompt"
    fits = served.complete([5] * (loaded.context - 5), max_tokens=5, temperature=0, ignore_eos=True)
    assert fits["usage"]["total_tokens"] == loaded.context
    text = "yes " * 3000
    status, told, _ = served.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})
    assert (status, told["error"]["param"]) == (400, "messages")


def test_half_characters_and_nul(served: ServedModel) -> None:
    assert served.ask("/v1/completions", b'{"prompt": "zinc \\ud800", "max_tokens": 1}')[0] in (200, 400)
    assert served.ask("/v1/completions", {"prompt": "zinc \x00", "max_tokens": 1})[0] == 200


def test_models_health_metrics(served: ServedModel) -> None:
    (model,) = served.ask("/v1/models")[1]["data"]
    assert (model["id"], model["max_model_len"], model["object"]) == ("tiny", 1024, "model")
    assert served.ask("/health")[1] == {"status": "ok", "model": "tiny"}
    before = served.metric("residency_model_generated_tokens_total")
    served.complete("x", max_tokens=7, temperature=0, ignore_eos=True)
    assert served.metric("residency_model_generated_tokens_total") == before + 7
    assert served.metric('residency_model_requests_total{path="/v1/completions",status="200"}') > 0


def test_a_client_that_goes_away_frees_its_row(served: ServedModel) -> None:
    gone = served.metric("residency_model_abandoned_total")
    for stream in (False, True):
        body = {"prompt": "x", "max_tokens": 1000, "ignore_eos": True, "stream": stream}
        data = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        with socket.create_connection((served.host, served.port)) as client:
            client.sendall(head + data)
            served.until("residency_model_running_answers", 1.0)
        served.until("residency_model_running_answers", 0.0)
    assert served.metric("residency_model_abandoned_total") == gone + 2
    assert served.metric("residency_model_generated_tokens_total") > 0
    served.complete("x", max_tokens=2)


def test_clients_that_say_half_of_it(served: ServedModel) -> None:
    data = json.dumps({"prompt": "x", "max_tokens": 3}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    for sent in (b"", b"POST /v1", head, head + data[:5], b"\x00\xff" * 500):
        with socket.create_connection((served.host, served.port)) as client:
            client.sendall(sent)
    served.complete("x", max_tokens=2)


def test_a_full_queue_says_when_to_come_again(loaded: Any) -> None:
    with ServedModel(loaded, batch=1, queue=2) as served, ThreadPoolExecutor(12) as pool:
        body = {"prompt": "x", "max_tokens": 300, "ignore_eos": True}
        got = list(pool.map(lambda _: served.ask("/v1/completions", body), range(12)))
        refused = [(told, headers) for status, told, headers in got if status == 503]
        assert refused
        for told, headers in refused:
            assert {key.lower(): value for key, value in headers.items()}["retry-after"] == "1"
            assert "wait already" in told["error"]["message"]
        assert {status for status, *_ in got} == {200, 503}
        served.complete("x", max_tokens=2)


def test_a_request_that_takes_too_long(loaded: Any) -> None:
    with ServedModel(loaded, timeout=0.2) as served:
        body = {"prompt": "x", "max_tokens": 1000, "ignore_eos": True}
        status, told, _ = served.ask("/v1/completions", body)
        assert (status, told["error"]["message"]) == (503, "no answer within 0.2 s")
        served.until("residency_model_running_answers", 0.0)
        assert served.stream("/v1/completions", body)[-1]["error"]["message"] == "no answer within 0.2 s"


def test_rows_wait_for_room_in_the_cache(loaded: Any, alone: Any) -> None:
    with ServedModel(loaded, cache_tokens=60, batch=8) as served, ThreadPoolExecutor(8) as pool:
        got = list(
            pool.map(lambda at: served.complete([5, 6, 7 + at], max_tokens=17, temperature=0), range(8))
        )
        assert served.metric('residency_model_batch_answers_bucket{le="2.0"}') > 0
        most = served.metric('residency_model_batch_answers_bucket{le="4.0"}')
        assert most == served.metric("residency_model_batch_answers_count"), "3 rows of 20 tokens fit into 60"
    want = [said(loaded, alone([5, 6, 7 + at], 17)) for at in range(8)]
    assert [one["choices"][0]["text"] for one in got] == want


def test_a_token_is_asked_for(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVED_TOKEN", "s3cret-token-of-the-test")
    with ServedModel(loaded, token_env="SERVED_TOKEN") as served:
        body = {"prompt": "x", "max_tokens": 1}
        assert served.ask("/health")[0] == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret-token-of-the-test"},
        ):
            status, told, _ = served.ask("/v1/completions", body, headers)
            assert (status, told["error"]["code"]) == (401, "invalid_api_key")
        assert served.ask("/v1/models")[0] == served.ask("/metrics")[0] == 401
        right = {"Authorization": "Bearer s3cret-token-of-the-test"}
        assert served.ask("/v1/completions", body, right)[0] == 200


def test_a_pass_that_fails_fails_its_requests_alone(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Decoder.step

    def broken(self: Decoder) -> Any:
        if any(request.prompt[0] == 7 for request in self.running):
            raise RuntimeError("the memory is full")
        return step(self)

    monkeypatch.setattr(Decoder, "step", broken)
    with ServedModel(loaded) as served:
        status, told, _ = served.ask("/v1/completions", {"prompt": [7], "max_tokens": 4, "ignore_eos": True})
        assert (status, told["error"]["type"]) == (500, "server_error")
        assert "the memory is full" in told["error"]["message"]
        served.complete([8], max_tokens=4)


def test_a_server_that_stops_says_so(loaded: Any) -> None:
    with ServedModel(loaded) as served:
        body = {"prompt": "x", "max_tokens": 1000, "ignore_eos": True, "n": 4}
        got: list[Any] = []
        asking = threading.Thread(target=lambda: got.append(_tolerant(served, body)))
        asking.start()
        served.until("residency_model_running_answers", 4.0)
        began = time.monotonic()
    asking.join(20)
    assert time.monotonic() - began < 15
    assert got, "the client was told, one way or the other"


def _tolerant(served: ServedModel, body: Any) -> Any:
    try:
        return served.ask("/v1/completions", body)[0]
    except OSError as error:
        return error
