"""What the schema cannot say of an `endpoint:` block."""

from __future__ import annotations

from urllib.parse import urlsplit

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Scalar, key_span
from residency.recipe.tokens import is_known


def check(recipe: Recipe, found: Diagnostics) -> None:
    """An address that can be asked, no key within it, a model or a server that answers."""
    tree = recipe.tree
    block = tree.get("endpoint")
    model = tree.get("model")
    has_model = model is not None and not (isinstance(model, Scalar) and model.value is None)
    if not isinstance(block, Mapping):
        if not has_model and not (isinstance(block, Scalar) and not is_known(block)):
            found.add(
                "missing-key",
                "nothing is named that could answer: neither `model` nor `endpoint`",
                key_span(tree, ("kind",)) or tree,
                hint="add `model: PATH`, or `endpoint: {url: http://HOST:PORT}`",
            )
        return
    _check_url(block, found)
    api = block.get("api")
    if isinstance(api, Scalar) and api.value == "completions" and not has_model:
        found.add(
            "missing-key",
            "`api: completions` makes the prompts here, which takes the model's tokenizer",
            api,
            hint="name the folder that holds it (or its hub name) under the recipe's own `model:`",
        )
    adapter = tree.get("adapter")
    if isinstance(adapter, Scalar) and adapter.value is not None:
        found.add(
            "conflicting-keys",
            "the server says what answers: an adapter beside `endpoint` has no effect",
            adapter,
            hint="serve the model with the adapter, and leave `adapter` out here",
        )


def _check_url(block: Mapping, found: Diagnostics) -> None:
    url = block.get("url")
    if not isinstance(url, Scalar) or not isinstance(url.value, str) or not is_known(url):
        return
    try:
        parts = urlsplit(url.value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        found.add(
            "bad-url",
            f"`{url.value}` is no address of a server",
            url,
            hint="write http://HOST:PORT or https://HOST/v1, or ${services.NAME.url}",
        )
        return
    if parts.username or parts.password or parts.query:
        found.add(
            "secret-outside-env",
            "the address holds a key or a password, which would be written to files",
            url,
            hint="put it into a variable and name that: `key_env: OPENAI_API_KEY`",
        )
    elif parts.path.rstrip("/").endswith("/completions"):
        found.add(
            "bad-url",
            "`url` names one of the server's functions, not the server",
            url,
            hint="leave out what follows /v1",
        )
