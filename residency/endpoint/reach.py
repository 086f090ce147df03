"""The server of a recipe, looked for: its client, and which model is asked there."""

from __future__ import annotations

import os
from typing import Any

from residency.endpoint.client import Client
from residency.endpoint.settings import Endpoint
from residency.errors import Missing


def key_of(found: Endpoint) -> str | None:
    """The key, from the environment. Raises Missing when the variable is not set."""
    if not found.key_env:
        return None
    key = os.environ.get(found.key_env, "").strip()
    if not key:
        raise Missing(
            f"{found.key_env} is not set, which holds the endpoint's key", f"export {found.key_env}=…"
        )
    return key


def reach(found: Endpoint) -> tuple[Client, str, dict[str, Any]]:
    """The client, the model's name there, and the server's list of models.

    Raises:
        Missing: Nothing answers, or the key is not taken.
        RecipeInvalid: The server has several models and the recipe names none.
    """
    client = Client(found, key_of(found))
    listed = client.about()
    return client, client.model(listed), listed
