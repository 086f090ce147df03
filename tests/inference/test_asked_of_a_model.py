"""Requests are read right, or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.http_server import BodyRefused
from residency.inference.server.asked import Refused, chat, completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    *("prompt", "messages", "n", "max_tokens", "temperature", "top_p", "stop", "seed", "logprobs", "echo"),
    *("stream", "stream_options", "model", "tools", "logit_bias", "top_logprobs", "stop_token_ids"),
)


def body(**given: Any) -> bytes:
    return json.dumps(given).encode()


def test_defaults_are_those_of_openai() -> None:
    found = completion(body(prompt="x"))
    assert (found.prompts, found.n, found.max_tokens, found.temperature) == (("x",), 1, 16, 1.0)
    assert (found.top, found.echo, found.stream, found.seed) == (None, False, False, None)
    talked = chat(body(messages=[{"role": "user", "content": "x"}]))
    assert talked.max_tokens is None
    assert talked.template == {"add_generation_prompt": True, "continue_final_message": False}


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        ("", ("",)),
    ],
)
def test_every_form_of_a_prompt(given: Any, want: Any) -> None:
    assert completion(body(prompt=given)).prompts == want


def test_what_lm_eval_sends() -> None:
    found = completion(
        body(model="m", prompt=[[5, 6]], temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True)
    )
    assert (found.prompts, found.top, found.echo, found.seed) == (((5, 6),), 1, True, 1234)


def test_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(body(messages=[{"role": "user", "content": parts}])).messages[0]["content"] == "ab"


def test_max_completion_tokens_and_null() -> None:
    talk = [{"role": "user", "content": "x"}]
    assert chat(body(messages=talk, max_completion_tokens=5)).max_tokens == 5
    found = chat(body(messages=talk, stop=None, seed=None, temperature=None, tools=None, user="me"))
    assert (found.stop, found.temperature) == ((), 1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "`prompt` is missing"),
        ({"prompt": []}, "`prompt` is empty"),
        ({"prompt": 5}, "list of texts"),
        ({"prompt": [1, "a"]}, "list of texts"),
        ({"prompt": [-1]}, "list of texts"),
        ({"prompt": "x", "temprature": 0}, "did you mean `temperature`?"),
        ({"prompt": "x", "nonsense": 0}, "unknown key `nonsense`"),
        ({"prompt": "x", "temperature": -1}, "`temperature` is -1"),
        ({"prompt": "x", "temperature": "hot"}, "must be a number"),
        ({"prompt": "x", "temperature": True}, "must be a number"),
        ({"prompt": "x", "top_p": 0}, "above 0"),
        ({"prompt": "x", "n": 0}, "1 to 10,000"),
        ({"prompt": "x", "n": 1.5}, "whole number"),
        ({"prompt": "x", "max_tokens": -1}, "`max_tokens` is -1"),
        ({"prompt": "x", "max_tokens": 0}, "without `echo`"),
        ({"prompt": "x", "stop": 5}, "list of texts"),
        ({"prompt": "x", "stop": ["x"] * 65}, "at most 64"),
        ({"prompt": "x", "logprobs": 21}, "0 to 20"),
        ({"prompt": "x", "logit_bias": {"5": 1}}, "not supported"),
        ({"prompt": "x", "presence_penalty": 0.5}, "not supported"),
        ({"prompt": "x", "best_of": 3}, "`best_of`"),
        ({"prompt": "x", "stream": True, "echo": True}, "do not go together"),
    ],
)
def test_what_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as raised:
        completion(body(**given))
    assert raised.value.status == 400
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (None, "`messages` is missing"),
        ([], "empty"),
        ("hi", "list of"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "reads text alone"),
    ],
)
def test_messages_that_are_refused(messages: Any, words: str) -> None:
    with pytest.raises(Refused, match=r".") as raised:
        chat(body(**({} if messages is None else {"messages": messages})))
    assert words in str(raised.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"prompt": NaN}'])
def test_what_is_no_request_at_all(raw: bytes) -> None:
    for read in (completion, chat):
        with pytest.raises((Refused, BodyRefused), match=r"body|prompt|messages"):
            read(raw)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_nothing_but_a_refusal(given: dict[str, Any]) -> None:
    for read in (completion, chat):
        try:
            found = read(json.dumps(given).encode("utf-8", "surrogatepass"))
        except (Refused, BodyRefused):
            continue
        assert found.prompts or found.messages
