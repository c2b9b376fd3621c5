"""What a function executes, place by place, each with the scope it sees.

Annotations are left out, and so are nested classes and nested operations: the first
are not executed, the others are no part of the body.
"""

import ast
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from typing import cast

from operon.lint.bindings import Comprehension
from operon.lint.bindings import Function
from operon.lint.bindings import defaults
from operon.lint.origins import Origins
from operon.lint.origins import dotted
from operon.lint.scopes import Scope
from operon.lint.scopes import plain

_OPERATIONS = {
    f"{module}.{name}"
    for module, names in {
        "operon": ("activity", "step", "transaction"),
        "operon.step": ("activity", "step"),
        "operon.transaction": ("transaction",),
    }.items()
    for name in names
}
_TRANSPARENT = (
    "abc.",
    "builtins.",
    "contextlib.",
    "functools.",
    "typing.",
    "typing_extensions.",
)
"""Decorators of these modules leave a function what it is."""


@dataclass(frozen=True)
class Site:
    """A node that is executed, in its surroundings."""

    node: ast.AST
    scope: Scope
    """What its names mean."""
    parent: "Site | None" = None
    """Around it, within the same function."""

    @property
    def origins(self) -> Origins:
        """Where the expressions at this place come from."""
        return Origins(self.scope)

    @property
    def call(self) -> ast.Call | None:
        """The call of this very expression, if it is called."""
        around = None if self.parent is None else self.parent.node
        is_called = isinstance(around, ast.Call) and around.func is self.node
        return cast("ast.Call", around) if is_called else None


def sites_of(function: Function, scope: Scope) -> Iterator[Site]:
    """Yield everything that *function*, whose own scope is *scope*, executes."""
    stack = [Site(each, scope) for each in reversed(function.body)]
    while stack:
        site = stack.pop()
        yield site
        stack.extend(reversed(list(_inside(site))))


def _inside(site: Site) -> Iterable[Site]:
    """Return the sites directly within *site*."""
    node = site.node
    if isinstance(node, ast.ClassDef):
        return []
    if isinstance(node, Function):
        return _function(site, node)
    if isinstance(node, ast.Lambda):
        inner = Site(node.body, Scope(node, site.scope, is_body=True), site)
        return [*_here(site, defaults(node.args)), inner]
    if isinstance(node, Comprehension):
        return _comprehension(site, node)
    if isinstance(node, ast.AnnAssign):
        parts = (node.target, node.value)
        return _here(site, [each for each in parts if each is not None])
    return _here(site, ast.iter_child_nodes(node))


def _here(site: Site, nodes: Iterable[ast.AST]) -> list[Site]:
    return [Site(each, site.scope, site) for each in nodes]


def _function(site: Site, node: Function) -> list[Site]:
    if is_operation(node, site.scope):
        return []
    inner = Scope(node, site.scope, is_body=True)
    body = [Site(each, inner, site) for each in node.body]
    return [*_here(site, defaults(node.args)), *body]


def _comprehension(site: Site, node: Any) -> list[Site]:
    """Return the parts of a comprehension; the first iterable is evaluated outside."""
    inner = Scope(node, site.scope, is_body=True)
    outermost: ast.expr = node.generators[0].iter
    parts: list[ast.AST] = [node.key, node.value] if _is_dict(node) else [node.elt]
    for each in node.generators:
        parts += [each.iter, *each.ifs]
    parts.remove(outermost)
    return [*_here(site, [outermost]), *(Site(each, inner, site) for each in parts)]


def _is_dict(node: ast.AST) -> bool:
    return isinstance(node, ast.DictComp)


def is_operation(function: Function, scope: Scope) -> bool:
    """Tell whether *function*, defined in *scope*, is a step, activity or transaction.

    A decorator that the module does not explain may make it one, so it counts.
    """
    return any(
        not _is_transparent(Origins(scope).of(each) or dotted(plain(each)))
        for each in function.decorator_list
    )


def is_declared(function: Function, scope: Scope) -> bool:
    """Tell whether *function* is surely one of Operon's operations."""
    origins = (Origins(scope).of(each) for each in function.decorator_list)
    return any(each is not None and _uncalled(each) in _OPERATIONS for each in origins)


def _is_transparent(decorator: str) -> bool:
    return decorator.startswith(_TRANSPARENT) or decorator.endswith(".setter")


def _uncalled(origin: str) -> str:
    """Return *origin* without the parentheses behind it."""
    return origin.rstrip("()")
