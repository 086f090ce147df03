"""Starts a server that is another project's: `python -m residency.engines.exec_server server.yaml`.

It finds the port, tells the address, hands the token over by the environment, and becomes the server.
The file has `host`, `port`, `token_env`, `argv` (in which {host} and {port} stand for them), `env` (the
same), and `token_to`, the variable by which the server knows the token.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from residency import http_server
from residency.errors import ResidencyError


def main(arguments: list[str]) -> int:
    """Become the server; returns an exit code when that cannot be."""
    config: dict[str, Any] = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        port = free_port(config["host"], int(config["port"]), config.get("token_env"))
    except ResidencyError as error:
        print(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), flush=True)
        return error.exit_code
    known = {"host": config["host"], "port": str(port)}
    argv = [_filled(word, known) for word in config["argv"]]
    env = {**os.environ, **{key: _filled(value, known) for key, value in config["env"].items()}}
    if config.get("token_env"):
        env[config["token_to"]] = os.environ[config["token_env"]]
    http_server.tell(http_server.address(config["host"], port))
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        print(f"error: {argv[0]} cannot be started: {error.strerror}", flush=True)
        return 3


def free_port(host: str, port: int, token_env: str | None) -> int:
    """The port to listen at: the one that is named, seen to be free, or any.

    Another process may take it before the server does; the server then ends, and is started again.

    Raises:
        ResidencyError: as `http_server.listen` does.
    """
    with http_server.listen(host, port, token_env) as listening:
        return int(listening.getsockname()[1])


def _filled(text: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
