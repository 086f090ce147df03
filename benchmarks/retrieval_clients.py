"""Many clients of a retrieval server at once: `retrieval_clients URL CLIENTS QUERIES_JSON`.

Each keeps its connection and sends one query after another. Prints the seconds of each request as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

TOPK = 3


def one(where: tuple[str, int], queries: list[str], took: list[float], start: threading.Barrier) -> None:
    with socket.create_connection(where) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start.wait()
        for query in queries:
            body = json.dumps({"queries": [query], "topk": TOPK, "return_scores": True}).encode()
            head = (
                f"POST /retrieve HTTP/1.1\r\nHost: {where[0]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            began = time.perf_counter()
            client.sendall(head.encode() + body)
            said = answer(client)
            took.append(time.perf_counter() - began)
            assert said.startswith(b"HTTP/1.1 200"), said[:200]


def answer(client: socket.socket) -> bytes:
    """One whole answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1 << 16)
    head, _, rest = data.partition(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(rest) < size:
        more = client.recv(1 << 16)
        assert more, "the server closed the connection"
        rest += more
    return head


def main(url: str, clients: int, queries: list[str]) -> dict[str, object]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    took: list[float] = []
    start = threading.Barrier(clients + 1)
    threads = [
        threading.Thread(target=one, args=((parts.hostname, parts.port), queries[at::clients], took, start))
        for at in range(clients)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - began, "requests": took}


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[3]).read_text())
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), given)))
