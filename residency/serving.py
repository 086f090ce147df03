"""What a server of ours and the launcher agree on: the port it is given, the address it tells."""

from __future__ import annotations

import ipaddress

ADDRESS = "address.json"
"""In the server's folder: `{"url", "host", "port"}`, written once it listens."""
PORT_ENV = "RESIDENCY_PORT"
"""The port that a service is to listen at, whatever its recipe says; 0: a free one."""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, that no other reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
