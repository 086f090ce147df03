"""OmegaConf's parse tree → a value. Imports OmegaConf, hence a module of its own."""

from __future__ import annotations

from typing import Any

from omegaconf import grammar_visitor

from residency.recipe.grammar import Failed, Interpolation, Scope, at_place, in_text
from residency.recipe.nodes import Node, Scalar, plain

_omegaconf: Any = grammar_visitor
_Parser: Any = _omegaconf.OmegaConfGrammarParser


class Visitor(grammar_visitor.GrammarVisitor):
    """Evaluates a parse tree by OmegaConf's own rules, with the values of a `Scope`."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(self._key, self._call, memo=None)
        self._scope = scope
        self._last: Node | None = None

    def value(self, tree: Any) -> Node:
        """The value of a whole text."""
        text = tree.getChild(0)
        result = self.visit(tree)
        if text.getChildCount() == 1 and isinstance(text.getChild(0), _Parser.InterpolationContext):
            assert self._last is not None
            return self._scope.whole(self._last)
        return self._scope.literal(result)

    def visitInterpolation(self, ctx: Any) -> Any:
        """One `${…}`; its failure is placed at it."""
        start, end = ctx.start.start, ctx.stop.stop + 1
        try:
            result = super().visitInterpolation(ctx)
        except Failed as failed:
            raise at_place(failed, start, end) from None
        parent = ctx.parentCtx
        inside = isinstance(parent, _Parser.TextContext) and parent.getChildCount() > 1
        if inside and self._last is not None and not isinstance(self._last, Scalar):
            raise in_text(self._last, start, end)
        return result

    def visitConfigKey(self, ctx: Any) -> str:
        """A part of a key; an interpolation in it must give text or a whole number."""
        child = ctx.getChild(0)
        if not isinstance(child, _Parser.InterpolationContext):
            return str(super().visitConfigKey(ctx))
        value = self.visitInterpolation(child)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        raise Failed("bad-interpolation", f"`{child.getText()}` gives no text that could be a key")

    def _key(self, key: str, memo: Any) -> Any:
        return self._give(Interpolation(_dots(key)))

    def _call(self, name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> Any:
        return self._give(Interpolation("", name, args))

    def _give(self, asked: Interpolation) -> Any:
        self._last = self._scope.value(asked)
        return plain(self._last)


def _dots(key: str) -> str:
    """`a[b].c` as `a.b.c`."""
    if "[" not in key:
        return key
    lead = len(key) - len(key.lstrip("."))
    parts = [part for part in key.replace("[", ".").replace("]", "").split(".") if part]
    return "." * lead + ".".join(parts)
