"""From a workflow's body to the plain functions of its module that it calls."""

import ast
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass

from operon.lint.bindings import Function
from operon.lint.bindings import Value
from operon.lint.origins import Origins
from operon.lint.origins import dotted
from operon.lint.scopes import Klass
from operon.lint.scopes import Owner
from operon.lint.scopes import Scope
from operon.lint.scopes import class_named
from operon.lint.scopes import plain
from operon.lint.sites import Site
from operon.lint.sites import is_declared
from operon.lint.sites import is_operation
from operon.lint.sites import sites_of

_WORKFLOW = {"operon.Workflow", "operon.workflow.Workflow"}
_BODY = "run"


@dataclass(frozen=True)
class Reached:
    """A function that a body executes, and how it came there."""

    function: Function
    around: Scope
    """Where it is defined."""
    klass: Klass
    """The workflow that is examined."""
    holder: Klass | None
    """The class that defines it; None for a plain function."""
    via: tuple[str, ...]

    def sites(self) -> Iterator[Site]:
        """Yield everything that it executes."""
        owner = self._owner()
        own = Scope(self.function, self.around, owner, is_body=True)
        return sites_of(self.function, own)

    def _owner(self) -> Owner | None:
        decorators = {dotted(each) for each in self.function.decorator_list}
        if self.holder is None or "staticmethod" in decorators:
            return None
        return Owner(self.klass, self.holder, is_class="classmethod" in decorators)


def is_workflow(klass: Klass) -> bool:
    """Tell whether *klass* is a workflow: by its bases, or because it has operations.

    The second holds for a class whose base is imported from the application.
    """
    return any(_has_base(each) or _has_operation(each) for each in klass.lineage())


def _has_base(klass: Klass) -> bool:
    around = klass.scope.parent or klass.scope
    bases = (Origins(around).of(plain(each)) for each in klass.node.bases)
    return any(each in _WORKFLOW for each in bases)


def _has_operation(klass: Klass) -> bool:
    return any(
        isinstance(each, Function) and is_declared(each, klass.scope)
        for each in klass.scope.bindings.definitions
    )


def reached_from(klass: Klass) -> Iterator[Reached]:
    """Yield the body of *klass* and every function of the module that it reaches."""
    body = klass.member(_BODY)
    if body is None:
        return
    name = f"{body.holder.qualname}.{_BODY}"
    first = _reached(body.value, body.holder.scope, klass, body.holder, (name,))
    waiting = [] if first is None else [first]
    seen: set[Function] = set()
    while waiting:
        reached = waiting.pop(0)
        if reached.function not in seen:
            seen.add(reached.function)
            yield reached
            waiting.extend(_callees(reached))


def _callees(caller: Reached) -> Iterator[Reached]:
    for site in caller.sites():
        called: Reached | None = None
        if isinstance(site.node, ast.Name) and isinstance(site.node.ctx, ast.Load):
            called = _function(site.node, site, caller)
        elif isinstance(site.node, ast.Attribute):
            called = _method(site.node, site, caller)
        if called is not None:
            yield called


def _reached(
    value: Value,
    around: Scope,
    klass: Klass,
    holder: Klass | None,
    via: Collection[str],
) -> Reached | None:
    """Return *value* as what is reached, if it is a function that is no operation."""
    if not isinstance(value, Function) or is_operation(value, around):
        return None
    return Reached(value, around, klass, holder, tuple(via))


def _function(name: ast.Name, site: Site, caller: Reached) -> Reached | None:
    """Return the plain function that *name* means, if it is defined outside *caller*.

    One that is defined inside is examined where it stands.
    """
    where = site.scope.find(name.id)
    if where is None or not _is_around(where, caller.around):
        return None
    value = where.only_value(name.id)
    return _reached(value, where, caller.klass, None, (*caller.via, name.id))


def _is_around(scope: Scope, inner: Scope) -> bool:
    around: Scope | None = inner
    while around is not None and around is not scope:
        around = around.parent
    return around is not None


def _method(called: ast.Attribute, site: Site, caller: Reached) -> Reached | None:
    """Return the method that `self.x`, `super().x` or `Class.x` means."""
    klass = caller.klass
    member = None
    if isinstance(called.value, ast.Name):
        owner = site.scope.owner_called(called.value.id)
        named = class_named(called.value, site.scope, klass.known)
        whose = owner.klass if owner is not None else named
        member = None if whose is None else whose.member(called.attr)
    elif _is_super(called.value) and caller.holder is not None:
        member = klass.inherited(called.attr, caller.holder)
    if member is None:
        return None
    via = (*caller.via, called.attr)
    return _reached(member.value, member.holder.scope, klass, member.holder, via)


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "super"
    )
