"""`launch.py chat MODEL|URL`: talk to a model in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from residency.errors import EXIT_DONE, Missing, RecipeInvalid, ResidencyError
from residency.paths import PROJECT

HELP = "/system TEXT sets what the model is told first, /reset begins anew, /quit or Ctrl-D ends"
STOP_SECONDS = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "chat",
        help="talk to a model, or to a server",
        description="Starts a server for a model, or asks one that runs. What is piped in is asked by line.",
        epilog=f"example: python launch.py chat runs/quickstart/latest     ({HELP})",
    )
    parser.add_argument(
        "model",
        metavar="MODEL|URL",
        help="as for `launch.py serve`, or a server's address: http://127.0.0.1:8000",
    )
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="tokens of an answer at most")
    parser.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest token (1)")
    parser.add_argument("--top-p", type=float, metavar="P", help="sample from the likeliest tokens only (1)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same answers every time")
    parser.add_argument(
        "--engine", metavar="NAME", help="of a model: transformers, vllm, sglang, llamafactory"
    )
    parser.add_argument("--token-env", metavar="NAME", help="the variable that holds the server's token")


def run(arguments: argparse.Namespace) -> int:
    """Talk until the end. Exit 0, or 4 when what was piped in could not be answered."""
    from residency.inference import client

    token = None
    if arguments.token_env:
        token = os.environ.get(arguments.token_env)
        if not token:
            raise Missing(
                f"{arguments.token_env} is not set, which holds the token", f"export {arguments.token_env}=…"
            )
    names = ("temperature", "top_p", "max_tokens", "seed")
    sampling = {key: value for key in names if (value := getattr(arguments, key)) is not None}
    with _server(arguments) as url:
        name = client.model(url, token)
        talk = Conversation(url, name, sampling, token, arguments.system)
        if sys.stdin.isatty():
            return _talk(talk)
        for line in sys.stdin:
            if not _handled(talk, line.strip()):
                return EXIT_DONE
        return EXIT_DONE


class Conversation:
    """What has been said so far."""

    def __init__(
        self, url: str, model: str, sampling: dict[str, Any], token: str | None, system: str | None
    ) -> None:
        """One that has not begun."""
        self.url, self.model, self.system = url, model, system
        self._sampling, self._token = sampling, token
        self._said: list[dict[str, str]] = []

    def reset(self) -> None:
        """Begin anew."""
        self._said = []

    def ask(self, text: str) -> None:
        """Ask, print the answer as it comes, and remember both. Ctrl-C ends the answer.

        Raises:
            ChatFailed: there was no answer; nothing is remembered.
        """
        from residency.inference import client

        first = [{"role": "system", "content": self.system}] if self.system else []
        asked = {"role": "user", "content": text}
        pieces: list[str] = []
        found = client.stream(self.url, self.model, [*first, *self._said, asked], self._sampling, self._token)
        try:
            with contextlib.closing(found):
                for piece in found:
                    pieces.append(piece)
                    print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print(" …", end="")
        except ResidencyError:
            if pieces:
                print(flush=True)
            raise
        print(flush=True)
        self._said += [asked, {"role": "assistant", "content": "".join(pieces)}]


def _talk(talk: Conversation) -> int:
    """At a terminal: a failed question is said, and the next one may follow."""
    from residency.cli.main import print_error

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  the line can be edited, and earlier ones come back
    print(f"{talk.model} at {talk.url}. {HELP}.")
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return EXIT_DONE
        try:
            if not _handled(talk, line):
                return EXIT_DONE
        except ResidencyError as error:
            print_error(error)


def _handled(talk: Conversation, line: str) -> bool:
    """Do what a line says; False when it ends the conversation."""
    word, _, rest = line.partition(" ")
    if not line:
        return True
    if word in ("/quit", "/exit"):
        return False
    if word == "/system":
        talk.system = rest.strip() or None
        talk.reset()
    elif word == "/reset":
        talk.reset()
    elif word.startswith("/") and re.fullmatch(r"/\w+", word):
        print(HELP if word == "/help" else f"{word} is no command: {HELP}")
    else:
        talk.ask(line)
    return True


@contextlib.contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[str]:
    """The address of a server: the one that is named, or one that is started and stopped here."""
    named = str(arguments.model)
    if re.match(r"https?://", named):
        if arguments.engine:
            raise RecipeInvalid("--engine is for a model, and a server's address is given")
        yield named.rstrip("/")
        return
    argv = [sys.executable, str(PROJECT / "launch.py"), "serve", named, "--set", "port=0"]
    if arguments.engine:
        argv += ["--engine", arguments.engine]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C ends an answer, not the server
        preexec_fn=_end_with_us,
    )
    try:
        yield _address(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    """Wait until the server is ready.

    Raises:
        ResidencyError: it cannot start; with its own words.
    """
    assert process.stdout is not None
    said: list[str] = []
    print("loading the model …", file=sys.stderr, flush=True)
    for line in process.stdout:
        if found := re.match(r"ready at (http://\S+?);", line):
            # A pipe that nobody reads fills, and what writes into it stands still.
            threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
            return found[1]
        said.append(line.rstrip())
    errors = [line for line in said if "error" in line.lower() or "cannot" in line] or said[-3:]
    error = ResidencyError("the server cannot start: " + " ".join(errors).removeprefix("error: "))
    hints = [line.strip().removeprefix("help: ") for line in said if line.strip().startswith("help: ")]
    error.hint = hints[-1] if hints else None
    error.__dict__["exit_code"] = process.wait() or error.exit_code
    raise error


def _drain(lines: Iterable[str]) -> None:
    for _ in lines:
        pass


def _end_with_us() -> None:
    """Ask the kernel to interrupt the server when this process is killed."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(1, signal.SIGINT)
