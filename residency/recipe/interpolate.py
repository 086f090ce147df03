"""OmegaConf's interpolations, resolved over a tree with places.

The grammar is OmegaConf's own (`residency.recipe.grammar`); the look-up is ours, since every
value must keep the place where it was written. None of OmegaConf's global state is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from residency.recipe import resolvers, tokens
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.grammar import Failed, Interpolation, evaluate
from residency.recipe.nodes import Entry, Mapping, Node, Path, Scalar, Sequence, Span, at, from_plain
from residency.recipe.suggest import closest, did_you_mean

MAX_CHAIN = 60
"""Interpolations that lead to one another."""
MAX_COPIES = 250_000
"""Values that interpolations bring in, all together."""
MAX_DEPTH = 128
PASSED_ON = frozenset({"verl"})
"""Blocks whose engine resolves interpolations against defaults of its own; what is found neither
in the recipe nor in the block is left for it."""
_OURS = frozenset({"params", "stages", "services", "loop"})
SERVICE_KEYS = ("url", "host", "port")
"""What `${services.NAME.…}` gives of a service."""


@dataclass
class Resolver:
    """Resolves one document.

    Attributes:
        root: The document, with `params` as a mapping of names to values.
        found: Takes every mistake.
        pipeline: True when `${stages…}` and `${loop…}` have a meaning here.
        scope: What stands before the names of stages in tokens: `outer/` in a nested pipeline.
        missing: Parameters without a value; they have been reported.
    """

    root: Mapping
    found: Diagnostics
    pipeline: bool = False
    scope: str = ""
    missing: frozenset[str] = frozenset()
    _done: dict[Path, Node | None] = field(default_factory=dict)
    _active: list[tuple[Path, Span]] = field(default_factory=list)
    _copies: int = 0

    def resolve(self) -> Mapping:
        """The document with every interpolation resolved; those that cannot be keep their text."""
        try:
            tree = self._tree(self.root, ())
        except RecursionError:
            message = "interpolations bring in values that are nested too deep"
            self.found.add("circular-interpolation", message, self.root.span)
            return self.root
        assert isinstance(tree, Mapping)
        return tree

    def _tree(self, node: Node, path: Path) -> Node:
        if isinstance(node, Mapping):
            entries = {
                key: Entry(key, entry.key_span, self._tree(entry.value, (*path, key)))
                for key, entry in node.entries.items()
            }
            return Mapping(node.span, entries, node.via)
        if isinstance(node, Sequence):
            items = [self._tree(item, (*path, i)) for i, item in enumerate(node.items)]
            return Sequence(items, node.span, node.via)
        if isinstance(node.value, tokens.Unresolved):
            return node
        if not _open(node):
            return Scalar(node.value, node.span, node.text, node.quoted, node.via, literal=True)
        done = self._scalar(node, path)
        if done is None:
            return Scalar(tokens.Unresolved(node.value), node.span, node.text, node.quoted, node.via)
        return done

    def _scalar(self, node: Scalar, path: Path) -> Node | None:
        """The value of a scalar with interpolations; None when it has none, which is reported."""
        if path in self._done:
            return self._done[path]
        self._guard(path)
        self._active.append((path, node.span))
        done: Node | None = None
        try:
            done = evaluate(node.value, _Scalar(self, node, path))
        except _Left:
            pass
        except Failed as failed:
            if failed.message is not None:
                where = place(node, failed.start, failed.end, self.found)
                self.found.add(failed.code, failed.message, where, hint=failed.hint)
        finally:
            self._active.pop()
        self._done[path] = done
        return done

    def look_up(self, steps: tuple[str, ...], base: Path = ()) -> Node | None:
        """The resolved value that `steps` lead to from the node at `base`, or None.

        Raises Failed when the way leads through something that cannot be resolved.
        """
        current: Node = self.root
        path: Path = ()
        whole = (*base, *steps)
        at = 0
        while True:
            if isinstance(current, Scalar) and _open(current):
                value = self._scalar(current, path)
                if value is None:
                    raise Failed.reported()
                current = value
            if isinstance(current, Scalar) and isinstance(current.value, tokens.Unresolved):
                raise Failed.reported()
            if at == len(whole):
                break
            step = whole[at]
            if isinstance(current, Mapping):
                # A key may hold dots itself (`actor.optim.lr` in an engine's block).
                for stop in range(at + 1, len(whole) + 1):
                    key = ".".join(str(part) for part in whole[at:stop])
                    if key in current.entries:
                        break
                else:
                    return None
                current, path, at = current.entries[key].value, (*path, key), stop
            elif isinstance(current, Sequence):
                index = int(step) if str(step).isdecimal() else -1
                if not 0 <= index < len(current.items):
                    return None
                current, path, at = current.items[index], (*path, index), at + 1
            else:
                return None
        return self._tree(current, path)

    def _guard(self, path: Path) -> None:
        """Report a circle of interpolations, or too long a chain of them."""
        chain = [where for where, _ in self._active]
        if path in chain:
            circle = self._active[chain.index(path) :]
            self.found.add(
                "circular-interpolation",
                "interpolations run in a circle: "
                + " → ".join(_dotted(where) for where, _ in [*circle, circle[0]]),
                circle[0][1],
                hint="give one of them a value of its own",
                notes=[(f"`{_dotted(where)}` is written here", span) for where, span in circle[1:]],
            )
            raise Failed.reported()
        if len(chain) > MAX_CHAIN:
            message = f"more than {MAX_CHAIN} interpolations lead to one another"
            self.found.add("circular-interpolation", message, self._active[0][1])
            raise Failed.reported()

    def use(self, node: Node, where: Span, depth: int) -> Node:
        """A copy of a resolved value for the place that uses it, bounded in number and depth."""
        self._copies += 1
        if self._copies > MAX_COPIES or depth > MAX_DEPTH:
            raise Failed("too-many-values", f"interpolations bring in more than {MAX_COPIES:,} values")
        if isinstance(node, Mapping):
            entries = {
                k: Entry(k, e.key_span, self.use(e.value, where, depth + 1)) for k, e in node.entries.items()
            }
            return Mapping(node.span, entries, where)
        if isinstance(node, Sequence):
            return Sequence([self.use(item, where, depth + 1) for item in node.items], node.span, where)
        return Scalar(node.value, node.span, node.text, node.quoted, where, node.literal)


class _Left(Exception):
    """The text is left for the engine to resolve."""


@dataclass
class _Scalar:
    """What `evaluate` asks while it reads one text: the values of its interpolations."""

    resolver: Resolver
    node: Scalar
    path: Path

    def literal(self, value: Any) -> Node:
        """A value that the interpolation itself made."""
        if isinstance(value, str) and self._made_of_tokens(value):
            return Scalar(value, self.node.span, value, literal=True)
        return from_plain(value, self.node.span)

    @staticmethod
    def _made_of_tokens(value: str) -> bool:
        return bool(tokens.found_in(value))

    def whole(self, node: Node) -> Node:
        """The value of a text that is one interpolation and nothing else."""
        return self.resolver.use(node, self.node.via or self.node.span, len(self.path))

    def value(self, asked: Interpolation) -> Node:
        """The value of one interpolation. Raises Failed."""
        if asked.resolver is None:
            return self._reference(asked)
        return resolvers.call(asked.resolver, asked.arguments, self)

    def select(self, key: str) -> Node | None:
        """The value at a dotted key (relative when it starts with dots), or None; for `oc.select`."""
        dots = len(key) - len(key.lstrip("."))
        steps = tuple(part for part in key.lstrip(".").replace("[", ".").replace("]", "").split(".") if part)
        if dots:
            return self.resolver.look_up(steps, self.path[:-dots]) if dots <= len(self.path) else None
        found = self.resolver.look_up(steps)
        block = self.path[0] if self.path else None
        if found is None and isinstance(block, str) and isinstance(self.resolver.root.get(block), Mapping):
            # Within an engine's block the engine's own references start at the block.
            found = self.resolver.look_up(steps, (block,))
        if found is None and block in PASSED_ON and steps and steps[0] not in _OURS:
            raise _Left
        return found

    def warn(self, message: str) -> None:
        """Add a warning at this text."""
        self.resolver.found.add("deprecated", message, self.node, severity="warning")

    def _reference(self, asked: Interpolation) -> Node:
        key = asked.key
        steps = tuple(part for part in key.split(".") if part)
        if not key.startswith("."):
            token = self._token(steps)
            if token is not None:
                return Scalar(tokens.make(token), self.node.span, "", literal=True)
        found = self.select(key)
        if found is not None:
            return found
        if steps[:1] == ("params",) and len(steps) > 1 and steps[1] in self.resolver.missing:
            raise Failed.reported()
        raise Failed("undefined-interpolation", f"`{key}` is not defined", hint=self._meant(key, steps))

    def _token(self, steps: tuple[str, ...]) -> str | None:
        """The token for what is known only later, or None."""
        if steps[0] == "stages":
            return self._stage(steps)
        if steps[0] == "services":
            return self._service(steps)
        if steps[0] == "loop" and steps[1:2] in (("index",), ("previous",)):
            if self.resolver.pipeline:
                return ".".join(steps)
            raise Failed("no-stages", "`loop` has a meaning only in a pipeline")
        return None

    def _stage(self, steps: tuple[str, ...]) -> str | None:
        if not self.resolver.pipeline:
            raise Failed(
                "no-stages",
                "`stages` has a meaning only in a pipeline, and this recipe is one stage",
                hint="declare a parameter here, write ${params.NAME}, and pass it by `with:` in the pipeline",
            )
        stages = self.resolver.root.get("stages")
        known = list(stages.entries) if isinstance(stages, Mapping) else []
        if len(steps) > 1 and steps[1].split("/")[0] not in known:
            name = steps[1]
            hint = did_you_mean(name, known) or "the stages are " + ", ".join(f"`{n}`" for n in known)
            raise Failed("unknown-stage", f"there is no stage `{name}`", hint=hint)
        if "outputs" in steps[2:]:
            at = steps.index("outputs", 2)
            name, output = "/".join(steps[1:at]), ".".join(steps[at + 1 :])
            if output:
                return f"stages.{self.resolver.scope}{name}.outputs.{output}"
        elif len(steps) > 2 and self.resolver.look_up(steps) is not None:
            return None
        name = steps[1] if len(steps) > 1 else "NAME"
        raise Failed(
            "undefined-interpolation",
            f"`{'.'.join(steps)}` names no output of a stage",
            hint=f"write ${{stages.{name}.outputs.OUTPUT}}",
        )

    def _service(self, steps: tuple[str, ...]) -> str | None:
        """The token for the address of a service that this recipe declares, or None for another key of it."""
        root, scope = self.resolver.root, self.resolver.scope
        known = _names(root.get("services"))
        if self.path[:1] == ("stages",) and len(self.path) > 1:
            # A recipe that stands in the pipeline's file may have services of its own.
            stage = at(root, self.path[:2])
            own = _names(stage.get("services")) if isinstance(stage, Mapping) else []
            if len(steps) > 1 and steps[1] in own:
                scope = f"{scope}{self.path[1]}/"
            known = [*own, *known]
        name = steps[1] if len(steps) > 1 else ""
        if name not in known:
            hint = did_you_mean(name, known) or "declare it under `services:`"
            if known and "did you mean" not in hint:
                hint = "the services are " + ", ".join(f"`{one}`" for one in dict.fromkeys(known))
            raise Failed("unknown-service", f"there is no service `{name}`", hint=hint)
        if len(steps) == 3 and steps[2] in SERVICE_KEYS:
            return f"services.{scope}{name}.{steps[2]}"
        if len(steps) > 2 and self.resolver.look_up(steps) is not None:
            return None
        near = closest(steps[2], SERVICE_KEYS) if len(steps) > 2 else []
        raise Failed(
            "undefined-interpolation",
            f"`{'.'.join(steps)}` names nothing of a service",
            hint=f"write ${{services.{name}.{near[0] if near else 'url'}}}",
        )

    def _meant(self, key: str, steps: tuple[str, ...]) -> str | None:
        """What an undefined key may have been meant to be."""
        if key.startswith("."):
            return "one dot starts at the mapping that holds this key, each further dot one above it"
        root = self.resolver.root
        params = root.get("params")
        names = list(params.entries) if isinstance(params, Mapping) else []
        if len(steps) == 1 and steps[0] in names:
            return f"did you mean `${{params.{steps[0]}}}`?"
        current: Node | None = root
        for place, step in enumerate(steps):
            if not isinstance(current, Mapping):
                break
            if step not in current.entries:
                near = closest(step, current.entries)
                if near:
                    return f"did you mean `${{{'.'.join((*steps[:place], near[0], *steps[place + 1 :]))}}}`?"
                if place == 1 and steps[0] == "params":
                    return "declare it under `params:`" + (
                        "; there are " + ", ".join(f"`{n}`" for n in names) if names else ""
                    )
                break
            current = current.get(step)
        near = closest(steps[-1], names)
        return f"did you mean `${{params.{near[0]}}}`?" if near else None


def _open(node: Scalar) -> bool:
    """True when a scalar holds interpolations yet to be resolved."""
    value = node.value
    return isinstance(value, str) and not node.literal and "${" in value and not _given_up(value)


def _given_up(value: str) -> bool:
    return isinstance(value, tokens.Unresolved)


def _names(node: Node | None) -> list[str]:
    return list(node.entries) if isinstance(node, Mapping) else []


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path) or "the whole recipe"


def place(node: Scalar, start: int, end: int, found: Diagnostics) -> Span:
    """Where characters `start` to `end` of a scalar's value stand in its file.

    Quotes, escapes and folded lines shift them; the piece is looked for in the text between the
    scalar's ends, and the whole scalar is given where it is not found.
    """
    text = str(node.value)
    piece = text[start:end]
    source = found.sources.get(node.span.file)
    if not piece or source is None:
        return node.span
    skip = text[:start].count(piece)
    lines = source.splitlines()
    for number in range(node.span.line, min(node.span.end_line, len(lines)) + 1):
        line = lines[number - 1]
        at = node.span.column - 1 if number == node.span.line else 0
        while (at := line.find(piece, at)) >= 0:
            if skip == 0:
                return Span(node.span.file, number, at + 1, number, at + 1 + len(piece))
            skip -= 1
            at += len(piece)
    return node.span
