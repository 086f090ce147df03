from __future__ import annotations

import socket
from pathlib import Path

import pytest

from residency.engines.verl import cluster
from residency.errors import Missing


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


def test_a_token_is_sent_where_there_is_one(tmp_path: Path) -> None:
    kept = tmp_path / "token"
    environ = {"RAY_AUTH_TOKEN_PATH": str(kept)}
    assert cluster.authentication(environ) == {}
    kept.write_text("secret")
    assert cluster.authentication(environ) == {"RAY_AUTH_MODE": "token"}
    assert cluster.authentication({"RAY_AUTH_TOKEN": "x"}) == {"RAY_AUTH_MODE": "token"}
    assert cluster.authentication({**environ, "RAY_AUTH_MODE": "disabled"}) == {}
