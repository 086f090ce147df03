"""A server that is busy, broken, slow, gone, or says no."""

from __future__ import annotations

import time
from typing import Any

import pytest
from openai_stub import Answer, Stub, text

from residency.endpoint.client import Client, context_of, retry_after
from residency.endpoint.errors import BadKey, GaveUp, NeverThere, NoModel, Refused, TooLong
from residency.endpoint.settings import Endpoint


class Waits(list[float]):
    """What a client would have waited, in seconds."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(stub: Stub, key: str | None = None, **more: Any) -> tuple[Client, Waits]:
    waits = Waits()
    return Client(Endpoint(url=stub.url, **{"timeout": 5.0, **more}), key, sleep=waits), waits


def ask(one: Client) -> str:
    return one.complete("question", {"model": "m", "max_tokens": 4}).text


def test_an_answer_with_its_figures(serve: Any) -> None:
    stub = serve(lambda path, body, n: text("two words", chat=path.endswith("chat/completions")))
    one, _ = client(stub)
    reply = one.chat([{"role": "user", "content": "hello"}], {"model": "m"})
    assert (reply.text, reply.finish_reason, reply.prompt_tokens, reply.tokens) == ("two words", "stop", 7, 2)
    assert stub.asked("/v1/chat/completions") == [
        {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    ]
    assert one.complete([3, 1], {}).text == "two words"
    assert stub.asked() == [{"prompt": [3, 1]}]
    assert one.answered == 2
    assert one.retried == 0


@pytest.mark.parametrize(
    "fault",
    [
        Answer(500, {"error": {"message": "CUDA error"}}),
        Answer(503, b"<html>busy</html>"),
        Answer(200, b"not json at all"),
        Answer(200, b'{"choices": [{"te'),
        Answer(200, {"choices": []}),
        Answer(200, {"choices": [{"text": 5}]}),
        Answer(200, [1]),
        Answer(200, {"error": {"message": "overloaded"}}),
        Answer(cut=True),
    ],
    ids=str,
)
def test_a_fault_that_passes_is_asked_again(serve: Any, fault: Answer) -> None:
    one, waits = client(serve(lambda path, body, n: fault if n < 2 else text("well")))
    assert ask(one) == "well"
    assert one.retried == 2
    # 1 s and 2 s, each by a quarter more or less
    assert 0.75 <= waits[0] <= 1.25
    assert 1.5 <= waits[1] <= 2.5


def test_it_gives_up_and_says_what_was_wrong(serve: Any) -> None:
    stub = serve(lambda path, body, n: Answer(500, {"error": {"message": "out of memory"}}))
    one, waits = client(stub, retries=3)
    with pytest.raises(GaveUp, match=r"was asked 4 times: it answered 500: out of memory") as raised:
        ask(one)
    assert raised.value.exit_code == 4
    assert len(stub.asked()) == 4
    assert len(waits) == 3


def test_retry_after_is_heeded_by_all(serve: Any) -> None:
    busy = Answer(429, {"error": {"message": "rate limit"}}, {"Retry-After": "17"})
    one, waits = client(serve(lambda path, body, n: busy if n == 0 else text("well")))
    assert ask(one) == "well"
    assert waits[0] == 17
    # Whoever comes next waits for what is left of it.
    assert ask(one) == "well"
    assert 10 < waits[-1] <= 17


def test_retry_after_forms() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=0.0) == 60
    for nothing in (None, "", "soon", "-3", "inf", "nan", "Thu, 01 Jan 1970 00:01:00 GMT"):
        assert retry_after(nothing) is None


def test_a_quota_that_is_used_up_is_not_asked_again(serve: Any) -> None:
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    stub = serve(lambda path, b, n: Answer(429, body))
    with pytest.raises(Refused, match="the quota is used up"):
        ask(client(stub)[0])
    assert len(stub.asked()) == 1


def test_a_server_that_hangs(serve: Any) -> None:
    stub = serve(lambda path, body, n: Answer(hang=3.0, cut=True))
    one, _ = client(stub, timeout=0.1, retries=9)
    began = time.monotonic()
    with pytest.raises(GaveUp, match=r"asked 3 times: it gave no answer within 0\.1 s"):
        ask(one)
    assert time.monotonic() - began < 3
    assert len(stub.asked()) == 3


def test_a_server_that_was_never_there(serve: Any) -> None:
    stub = serve(lambda *_: text("x"))
    stub.stop()
    one, waits = client(stub)
    with pytest.raises(NeverThere, match=r"nothing answers at http://127.*: the connection was refused") as r:
        one.about()
    assert r.value.exit_code == 3
    assert len(waits) == 2  # not the minutes that a server under way is waited for


def test_a_server_that_died_half_way(serve: Any) -> None:
    stub = serve(lambda *_: text("x"))
    one, waits = client(stub, retries=4)
    assert ask(one) == "x"
    stub.stop()
    one._local.__dict__.clear()  # its connection too
    with pytest.raises(GaveUp, match="asked 5 times: it cannot be reached") as raised:
        ask(one)
    assert raised.value.exit_code == 4
    assert len(waits) == 4


def test_keys(serve: Any) -> None:
    stub = serve(lambda *_: text("x"), key="sk-right")
    assert ask(client(stub, "sk-right", key_env="MY_KEY")[0]) == "x"
    with pytest.raises(BadKey, match=r"does not take the key in MY_KEY \(401: Incorrect API key") as raised:
        client(stub, "sk-wrong", key_env="MY_KEY")[0].about()
    assert raised.value.exit_code == 3
    assert "sk-wrong" not in str(raised.value)
    with pytest.raises(BadKey, match="wants a key"):
        ask(client(stub)[0])
    assert len(stub.asked()) == 2  # no second try of either


def test_a_netrc_does_not_overrule_the_key(serve: Any, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("residency.endpoint.client.is_loopback", lambda host: False)
    stub = serve(lambda *_: text("x"), key="sk-right")
    assert ask(client(stub, "sk-right")[0]) == "x"


def test_the_key_does_not_follow_a_redirection(serve: Any) -> None:
    other = serve(lambda *_: text("stolen"))
    stub = serve(lambda *_: Answer(307, b"", {"Location": other.url + "/v1/completions"}))
    with pytest.raises(Refused, match="answered 307"):
        ask(client(stub, "sk")[0])
    assert other.requests == []


@pytest.mark.parametrize(
    "body",
    [
        {"message": "This model's maximum context length is 1024 tokens. However, you requested 2000."},
        {"error": {"message": "too many tokens", "code": "context_length_exceeded"}},
        {"error": {"message": "the request exceeds the available context size", "code": 400}},
    ],
)
def test_a_prompt_that_is_too_long(serve: Any, body: Any) -> None:
    with pytest.raises(TooLong):
        ask(client(serve(lambda *_: Answer(400, body)))[0])


def test_another_refusal_stops_at_once(serve: Any) -> None:
    stub = serve(lambda *_: Answer(404, {"error": {"message": "The model `x` does not exist"}}))
    with pytest.raises(Refused, match="answered 404: The model `x` does not exist") as raised:
        ask(client(stub)[0])
    assert "endpoint.model" in (raised.value.hint or "")
    assert len(stub.asked()) == 1


def test_which_model(serve: Any) -> None:
    one, _ = client(serve(lambda *_: text("x")))
    assert one.model(one.about()) == "m"
    two = serve(lambda *_: text("x"), models={"data": [{"id": "a"}, {"id": "b", "max_model_len": 99}]})
    one, _ = client(two)
    listed = one.about()
    with pytest.raises(NoModel, match="has 2 models: a, b"):
        one.model(listed)
    assert client(two, model="b")[0].model(listed) == "b"
    assert context_of(listed, "b") == 99
    assert context_of(listed, "a") is None
    # Many servers list nothing.
    one, _ = client(serve(lambda *_: text("x"), models=False))
    assert one.about() == {}
    with pytest.raises(NoModel, match="does not say which it has"):
        one.model({})


def test_addresses() -> None:
    for given, base in {
        "http://h:8000": "http://h:8000/v1",
        "http://h:8000/": "http://h:8000/v1",
        "http://h:8000/v1/": "http://h:8000/v1",
        "https://h/openai/v1": "https://h/openai/v1",
    }.items():
        assert Endpoint(given).base == base
    assert Endpoint("https://u:p@h/v1?key=s#x").shown == "https://h/v1"
    assert Endpoint("http://[::1]:80").shown == "http://[::1]:80/v1"
