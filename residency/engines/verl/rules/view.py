"""A `verl:` block as the rules read it: what verl will see of each key, and where it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.base import CheckContext
from residency.engines.verl import hardware, tree
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping as Block
from residency.recipe.nodes import Node, Scalar, Sequence, Span, plain
from residency.recipe.values import later, unresolved

BLOCK = "verl"
ALGORITHM, DATA, TRAINER = "algorithm", "data", "trainer"
ACTOR, ROLLOUT, REF = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"
MODEL = "actor_rollout_ref.model"
CRITIC = "critic"
FILES = (f"{MODEL}.path", f"{MODEL}.tokenizer_path", "critic.model.path", "critic.model.tokenizer_path")


@dataclass(slots=True)
class View:
    """One recipe and what the rules find in it."""

    recipe: Recipe
    block: Block
    context: CheckContext
    found: Diagnostics
    keys: dict[str, tree.Key] = field(init=False)
    filled: Mapping[str, Any] = field(init=False, default_factory=dict)
    """What the launcher sets where the recipe says nothing."""
    forced: Mapping[str, Any] = field(init=False, default_factory=dict)
    """What the launcher sets whatever the recipe says."""
    _seen: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = tree.flatten(self.block, self.found)
        self._seen = self.written
        profile = self._profile()
        self.filled, self.forced = profile.defaults, profile.forced
        self._seen = {**self.filled, **self._seen, **self.forced}

    def _profile(self) -> hardware.Profile:
        """What the hardware profile sets, as `settings.build` lays it around the recipe's keys."""
        if self.on_cpu:
            return hardware.cpu_settings(threads=1, ranks=self.per_node, given=self._seen)
        return hardware.gpu_settings(gpus=self.per_node, given=self._seen)

    @property
    def written(self) -> dict[str, Any]:
        """Dotted name → plain value of what the recipe writes and is known."""
        return {
            name: plain(key.node)
            for name, key in self.keys.items()
            if key.prefix != "~" and not unresolved(key.node)
        }

    def __contains__(self, name: str) -> bool:
        """True when the recipe gives the key a value."""
        key = self.keys.get(name)
        return key is not None and key.prefix != "~" and plain(key.node) is not None

    def under(self, block: str) -> list[tree.Key]:
        """What the recipe writes at or below a name."""
        return [
            key
            for name, key in self.keys.items()
            if (name == block or name.startswith(block + ".")) and key.prefix != "~"
        ]

    def get(self, name: str) -> Any:
        """What verl will see: given, set by the launcher, or its default; None when not known yet."""
        key = self.keys.get(name)
        if key is not None and later(key.node):
            return None
        value = tree.resolved(name, self._seen)
        return None if isinstance(value, str) and (TOKEN_OPEN in value or value.startswith("${")) else value

    def on(self, name: str) -> bool:
        """True when a switch is on; a value of another type is the schema's business."""
        return self.get(name) is True

    def number(self, name: str) -> float | None:
        """A number, or None when it is none."""
        value = self.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, name: str) -> int | None:
        """A whole number above zero, or None when it is none."""
        value = self.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    def text(self, name: str) -> str | None:
        """Text, or None."""
        value = self.get(name)
        return value if isinstance(value, str) and value else None

    # What the stage is

    @property
    def estimator(self) -> str | None:
        """`grpo`, `gae`, …; None when it is not known yet."""
        return self.text("algorithm.adv_estimator")

    @property
    def critic(self) -> bool:
        """True when verl trains a critic: `critic.enable`, else whether the estimator is GAE."""
        asked = self.get("critic.enable")
        return asked if isinstance(asked, bool) else self.estimator == "gae"

    @property
    def reference(self) -> bool:
        """True when verl needs the reference's log-probs."""
        return self.on(f"{ACTOR}.use_kl_loss") or self.on("algorithm.use_kl_in_reward")

    @property
    def asked_gpus(self) -> int | None:
        """`resources: {gpus: …}`, or None."""
        asked = self.recipe.tree.get("resources")
        value = plain(asked.entries["gpus"].value) if isinstance(asked, Block) and asked.get("gpus") else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def on_cpu(self) -> bool:
        """True when the stage would run by the CPU profile."""
        asked = self.own("hardware")
        if asked in ("cpu", "gpu"):
            return bool(asked == "cpu")
        gpus = self.asked_gpus
        return (self.context.gpus if gpus is None else gpus) == 0

    @property
    def per_node(self) -> int:
        """Ranks a node, which are GPUs but on a CPU."""
        given = self.count("trainer.n_gpus_per_node") if "trainer.n_gpus_per_node" in self else None
        there = 1 if self.on_cpu else self.asked_gpus or self.context.gpus or 1
        return given or there

    @property
    def ranks(self) -> int:
        """Processes that train: nodes × GPUs of each."""
        nodes = self.count("trainer.nnodes") if "trainer.nnodes" in self and not self.on_cpu else None
        return self.per_node * (nodes or 1)

    @property
    def parallel(self) -> int:
        """Ranks that take different rows: all, but for those that share a sequence (Ulysses)."""
        return max(1, self.ranks // self.sequence)

    @property
    def sequence(self) -> int:
        """Ranks that share one sequence."""
        return max(
            self.count(f"{ACTOR}.ulysses_sequence_parallel_size") or 1,
            self.count(f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size") or 1,
        )

    def own(self, key: str) -> Any:
        """The plain value of one of the recipe's own keys, or None."""
        node = self.recipe.tree.get(key)
        return None if node is None or later(node) else plain(node)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where relative paths may start, first come first served."""
        return (self.recipe.folder.absolute(), self.context.project, self.context.cwd)

    def find(self, value: str) -> Path | None:
        """An existing file or folder, or None."""
        for root in self.roots:
            path = root / Path(value).expanduser()
            if path.exists():
                return path.absolute()
        return None

    # Places and diagnostics

    def key(self, name: str) -> Span:
        """Where a key is written; the block's own key when it is not."""
        key = self.keys.get(name)
        if key is not None:
            return key.span
        entry = self.recipe.tree.entries.get(BLOCK)
        return entry.key_span if entry is not None else self.block.span

    def place(self, name: str) -> Node | Span:
        """Where a key's value is written."""
        return tree.place(self.keys, name) or self.key(name)

    def own_key(self, key: str) -> Span:
        """Where one of the recipe's own keys is written; the block's key when it is not."""
        entry = self.recipe.tree.entries.get(key) or self.recipe.tree.entries.get(BLOCK)
        return entry.key_span if entry is not None else self.block.span

    def said(self, name: str) -> str:
        """`name (value)` for a message, with `the default` where nothing is written."""
        value = self.get(name)
        return f"`{_short(name)}` ({value}{'' if name in self else ', the default'})"

    def error(
        self, code: str, message: str, where: Node | Span, hint: str | None = None, beside: Iterable[str] = ()
    ) -> None:
        """An error; `beside` names other keys that matter."""
        self.found.add(code, message, where, hint=hint, notes=self._notes(beside))

    def warn(
        self, code: str, message: str, where: Node | Span, hint: str | None = None, beside: Iterable[str] = ()
    ) -> None:
        """A warning."""
        self.found.add(code, message, where, hint=hint, severity="warning", notes=self._notes(beside))

    def at_first(self, *names: str) -> str:
        """The first of the names that is written, else the first: where to point for all of them."""
        return next((name for name in names if name in self), names[0])

    def _notes(self, beside: Iterable[str]) -> list[tuple[str, Span]]:
        return [(f"`{_short(name)}` stands here", self.key(name)) for name in beside if name in self.keys]


def _short(name: str) -> str:
    """A name as messages give it: whole, for it can be searched for in verl's documentation."""
    return name


def texts(node: Node | None) -> list[tuple[str, Node]]:
    """The texts of a single value or a list, each with its place; tokens are left out."""
    nodes = node.items if isinstance(node, Sequence) else [node] if node is not None else []
    return [
        (item.value, item)
        for item in nodes
        if isinstance(item, Scalar) and isinstance(item.value, str) and not later(item)
    ]
