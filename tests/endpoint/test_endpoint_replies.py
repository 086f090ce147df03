"""Whatever a server sends is an answer or named trouble."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.endpoint import replies
from residency.endpoint.errors import Refused, Trouble

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("choices", "text", "message", "content", "usage", "completion_tokens", "logprobs", "error")
            )
            | st.sampled_from(("token_logprobs", "top_logprobs", "tokens", "finish_reason", "code")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(values)
def test_any_json(value: object) -> None:
    data = json.dumps(value).encode()
    assert isinstance(replies.message(data), str)
    for understand in (replies.chat, replies.completion, lambda found: replies.likelihood(found, 3, 1)):
        try:
            found = understand(replies.read(data))
        except (Trouble, Refused):
            continue
        if isinstance(found, replies.Reply):
            assert isinstance(found.text, str)
        else:
            assert isinstance(found[0], float)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    assert len(replies.shown(data)) <= replies.SHOWN
    assert replies.message(data)
    try:
        found = replies.read(data)
    except Trouble:
        found = {}
    assert isinstance(found, dict)


def test_texts() -> None:
    assert replies.chat({"choices": [{"message": {"content": None}}]}).text == ""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert replies.chat({"choices": [{"message": {"content": parts}}]}).text == "ab"
    with pytest.raises(Trouble, match="has no message"):
        replies.chat({"choices": [{"text": "x"}]})
    with pytest.raises(Trouble, match="has no text"):
        replies.completion({"choices": [{"message": {"content": "x"}}]})


def test_likelihoods_of_the_last_tokens() -> None:
    inner = {
        "tokens": ["a", "b", "c", "d"],
        "token_logprobs": [None, -1.0, -0.5, -9.0],
        "top_logprobs": [None, {"x": -0.1}, {"c": -0.5}, {"d": -9.0}],
    }
    found = {"choices": [{"logprobs": inner}]}
    # The fourth was generated after the three that were asked.
    assert replies.likelihood(found, 3, 1) == (-0.5, True)
    assert replies.likelihood(found, 3, 2) == (-1.5, False)
    with pytest.raises(Trouble, match="not numbers"):
        replies.likelihood(found, 3, 3)
    with pytest.raises(Refused, match="no log-probabilities") as raised:
        replies.likelihood({"choices": [{"text": "x"}]}, 3, 1)
    assert "in process" in (raised.value.hint or "")
