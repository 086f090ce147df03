"""The command of the fake server: `/health` once it is well, its pid elsewhere; misbehaves when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SLEEP = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"


def serve(config: dict[str, Any]) -> None:
    print(f"tries: {config.get('say', 'nothing to say')}", flush=True)
    count = Path("tries")
    tries = int(count.read_text()) + 1 if count.exists() else 1
    count.write_text(str(tries))
    if config.get("missing"):
        print("error: there is no index\nhint: make one", flush=True)
        sys.exit(3)
    if config.get("crashes", 0) >= tries:
        print("ValueError: it crashes at its start", flush=True)
        sys.exit(1)
    if config.get("children"):
        subprocess.Popen([sys.executable, "-c", SLEEP])
        subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    if config.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    well_at = time.monotonic() + config.get("slow", 0)

    looks = 0

    def misbehave() -> None:
        """At a look but the first: be blocked for some seconds; hang in each of the first `hangs` lives."""
        nonlocal looks
        looks += 1
        if looks > 1 and "blocked" in config:
            time.sleep(config["blocked"])
        if looks > 2 and tries <= config.get("hangs", 0):
            print("it hangs", flush=True)
            while True:
                time.sleep(60)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.path == "/health" and well_at < time.monotonic():
                misbehave()
            ill = config.get("ill") or (looks > 2 and tries <= config.get("sickens", 0))
            well = time.monotonic() >= well_at and not ill
            self.send_response(200 if self.path != "/health" or well else 503)
            self.end_headers()
            said = {"pid": os.getpid(), "tries": tries, "upstream": config.get("upstream")}
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["RESIDENCY_PORT"])), Handler)
    Path("address.part").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    os.replace("address.part", "address.json")
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(Path("service.json").read_text()))
