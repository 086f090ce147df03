from __future__ import annotations

import socket
from pathlib import Path

import pytest

from residency.engines.verl import cluster
from residency.errors import Missing

HERE = "127.0.0.1:6379"


def test_one_that_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster.reach(f"127.0.0.1:{port}")
        cluster.reach(f"ray://127.0.0.1:{port}")
    with pytest.raises(Missing, match=f"no Ray cluster at 127.0.0.1:{port}: Connection refused"):
        cluster.reach(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999"])
def test_no_address(address: str) -> None:
    with pytest.raises(Missing, match="its port is no number"):
        cluster.reach(address)


def test_ray_looks_for_its_own() -> None:
    cluster.reach("auto")


REFUSED = "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: the token is missing"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the cluster answers to one without and with a token; None is a welcome."""
    answers: dict[str, str | None] = {"disabled": None, "token": None}
    monkeypatch.setattr(cluster, "_asked", lambda address, environ: answers[environ["RAY_AUTH_MODE"]])
    return answers


def test_no_token_is_sent_to_a_cluster_that_wants_none(asked: dict[str, str | None], tmp_path: Path) -> None:
    kept = tmp_path / "token"
    kept.write_text("secret")
    environ = {"RAY_AUTH_TOKEN_PATH": str(kept)}
    assert cluster.authentication(HERE, environ) == {"RAY_AUTH_MODE": "disabled"}
    assert cluster.authentication(HERE, {**environ, "RAY_AUTH_MODE": "token"}) == {}, "as the user says"


def test_a_token_is_sent_to_a_cluster_that_wants_one(asked: dict[str, str | None], tmp_path: Path) -> None:
    asked["disabled"] = REFUSED
    kept = tmp_path / "token"
    environ = {"RAY_AUTH_TOKEN_PATH": str(kept)}
    with pytest.raises(Missing, match="wants a token, and there is none here"):
        cluster.authentication(HERE, environ)
    kept.write_text("secret")
    assert cluster.authentication(HERE, environ) == {"RAY_AUTH_MODE": "token"}
    assert cluster.authentication(HERE, {"RAY_AUTH_TOKEN": "x"}) == {"RAY_AUTH_MODE": "token"}
    asked["token"] = REFUSED
    with pytest.raises(Missing, match="refuses this token"):
        cluster.authentication(HERE, environ)


def test_a_cluster_of_another_version(asked: dict[str, str | None]) -> None:
    asked["disabled"] = "RuntimeError: Version mismatch: The cluster was started with Ray: 2.40.0"
    with pytest.raises(Missing, match=r"cannot be joined: .*Version mismatch"):
        cluster.authentication(HERE, {})
