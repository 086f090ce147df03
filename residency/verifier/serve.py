"""Serves a verifier to several trainings: `python -m residency.verifier.serve FOLDER --port 8002`.

Answers `POST /classify {"input": [texts]}` as vLLM's classification endpoint does, and
`GET /health`. For `rewards.verifier` with `url: http://HOST:8002`.
"""

from __future__ import annotations

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from residency.errors import EXIT_DONE, EXIT_RECIPE, ResidencyError
from residency.verifier import classifier

LARGEST = 64 << 20
"""Bytes of a request at most."""


def main(arguments: list[str]) -> int:
    """Load the verifier and serve it until the process is stopped; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m residency.verifier.serve", description=__doc__)
    parser.add_argument("model", help="the verifier's folder or hub name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8002)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args(arguments)
    try:
        held = classifier.held(given.model, device=given.device, dtype=given.dtype)
        served = server(held, given.host, given.port, given.threads)
    except ResidencyError as error:
        print(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), flush=True)
        return error.exit_code
    except OSError as error:
        print(f"error: cannot listen on {given.host}:{given.port}: {error.strerror}", flush=True)
        return EXIT_RECIPE
    print(f"serving {given.model} at http://{given.host}:{served.server_port}", flush=True)
    try:
        served.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        served.server_close()
    return EXIT_DONE


def server(
    held: classifier.Classifier, host: str, port: int, threads: int | None = None
) -> ThreadingHTTPServer:
    """A server that listens already; `serve_forever` answers. Port 0 is any free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200 if self.path == "/health" else 404, {})

        def do_POST(self) -> None:
            if self.path != "/classify":
                self._say(404, {"error": "post to /classify"})
                return
            try:
                size = int(self.headers.get("Content-Length") or 0)
                if not 0 < size <= LARGEST:
                    raise ValueError(f"a request has 1 to {LARGEST:,} bytes, this one {size:,}")
                body = json.loads(self.rfile.read(size))
                given = body.get("input")
                texts = [given] if isinstance(given, str) else given
                if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
                    raise ValueError("`input` is not a list of texts")
                most = body.get("truncate_prompt_tokens")
                found = held.whole(texts, max_length=int(most) if most else None, threads=threads)
            except (ValueError, AttributeError, TypeError) as error:
                self._say(400, {"error": str(error)})
                return
            rows = [
                {"index": i, "label": "right" if p > 0.5 else "wrong", "probs": [1 - p, p], "num_classes": 2}
                for i, p in enumerate(found)
            ]
            self._say(200, {"object": "list", "data": rows})

        def _say(self, status: int, said: Any) -> None:
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass  # a line a batch says nothing

    return ThreadingHTTPServer((host, port), Handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
