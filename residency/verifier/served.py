"""A verifier that another process serves: texts are posted to it in batches.

The form is that of vLLM's classification endpoint: `POST /classify {"model", "input": [texts]}`
is answered by `{"data": [{"index", "probs": [wrong, right]}]}`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0


class Unreachable(ConnectionError):
    """The service did not answer, or not as a verifier does. The sample has no score then."""


def probabilities(
    url: str,
    texts: Sequence[str],
    *,
    model: str | None = None,
    batch_size: int = 16,
    max_length: int | None = None,
    timeout: float = 60.0,
    key: str | None = None,
) -> list[float]:
    """The probability of the class `right` for each text, in the order given.

    Args:
        url: The service's address, with or without `/classify`.
        texts: What the verifier reads.
        model: The name that the service knows the model by.
        batch_size: Texts of one request at most.
        max_length: Tokens that the service keeps of a text, its end.
        timeout: Seconds that one request may take.
        key: The environment variable that holds the service's key.

    Raises:
        Unreachable: no answer within the time, or another than a verifier's.
    """
    import requests

    address = url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/classify"
    headers = {"Authorization": f"Bearer {os.environ[key]}"} if key and key in os.environ else {}
    found: list[float] = []
    with requests.Session() as session:
        for start in range(0, len(texts), batch_size):
            part = list(texts[start : start + batch_size])
            body: dict[str, Any] = {"input": part}
            if model:
                body["model"] = model
            if max_length:
                body["truncate_prompt_tokens"] = max_length
            try:
                answer = session.post(address, json=body, headers=headers, timeout=(CONNECT_SECONDS, timeout))
                said = answer.json() if answer.ok else None
            except requests.RequestException as error:
                raise Unreachable(f"the verifier at {address} did not answer: {error}") from error
            if said is None:
                raise Unreachable(
                    f"the verifier at {address} answered {answer.status_code}: {answer.text[:200].strip()}"
                )
            found += _read(said, len(part), address)
    return found


def _read(said: Any, count: int, address: str) -> list[float]:
    try:
        rows = {int(row["index"]): [float(value) for value in row["probs"]] for row in said["data"]}
        values = [rows[index] for index in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(
            f'the verifier at {address} answered in another form than {{"data": [{{"index", "probs"}}]}}'
        ) from error
    for probs in values:
        if len(probs) != 2:
            raise Unreachable(f"the model at {address} tells {len(probs)} classes apart, not two")
        if not all(0.0 <= value <= 1.0 for value in probs):
            raise Unreachable(f"the model at {address} gives no probabilities: {probs}")
    return [probs[1] for probs in values]
