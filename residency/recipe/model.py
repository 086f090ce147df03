"""A recipe as the rest of the launcher sees it: composed, resolved, every value placed."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.recipe.nodes import Mapping, Node, Span, plain

# A value that is not known before another stage has its place, or that must never be
# written down, stands in the resolved recipe as a token: ⟦stages.sft.outputs.model⟧,
# ⟦secret:WANDB_API_KEY⟧. The brackets (U+27E6, U+27E7) occur in no recipe otherwise.
TOKEN_OPEN = "⟦"
TOKEN_CLOSE = "⟧"


@dataclass(frozen=True, slots=True)
class Param:
    """One entry of `params:`."""

    name: str
    type: str
    """string, integer, number, boolean, list, mapping or any."""
    default: Node | None
    """None when a caller must give the value."""
    description: str
    choices: tuple[Any, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in the recipe that holds a token."""

    kind: str
    """`stage`, `secret`, `service` or `loop`."""
    target: tuple[str, ...]
    """(`sft`, `model`) for ${stages.sft.outputs.model}; (`NAME`,) for a secret; (`retriever`, `url`)
    for ${services.retriever.url}."""
    path: tuple[str | int, ...]
    """Where the token stands."""
    span: Span


@dataclass(slots=True)
class Recipe:
    """One recipe after `extends`, profiles, `--set`, params and interpolation."""

    path: Path
    """The file; relative paths in the recipe start at its folder."""
    kind: str
    name: str
    tree: Mapping
    """The resolved document, without `params`, `profiles` and `extends`."""
    params: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Param] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Every file that was read to make this recipe, in the order read."""
    profiles: abc.Mapping[str, Mapping] = field(default_factory=dict)
    """The profiles that the recipe itself declares, as they are written."""
    needs: tuple[str, ...] = ()
    """Stages that `needs:` names in the pipeline that holds this recipe."""
    uses: dict[str, Service] = field(default_factory=dict)
    """The services that it uses, each after those that it uses itself (`residency.recipe.services`)."""
    stage: tuple[str, Span] | None = None
    """For a recipe that stands in a pipeline's file: `stages.sft`, and where that name is written."""
    plain_llamafactory: bool = False
    """True for a LLaMA-Factory YAML without `kind:`, which is taken as `kind: sft`."""

    @property
    def config(self) -> dict[str, Any]:
        """The resolved recipe as ordinary Python values, tokens included."""
        value = plain(self.tree)
        assert isinstance(value, dict)
        return value

    @property
    def folder(self) -> Path:
        """Where relative paths of the recipe start."""
        return self.path.parent


@dataclass(slots=True)
class Service:
    """One entry of `services:`: a process that runs as long as a stage needs it, or one that runs anyway."""

    name: str
    """`retriever`, or `grpo/retriever` for one that the recipe of the stage `grpo` declares."""
    recipe: Recipe
    """What is started, of kind `serve`; of an external one the entry itself."""
    span: Span
    """Where its name is written."""
    url: str | None = None
    """The address of an external one, which is used and neither started nor stopped."""
