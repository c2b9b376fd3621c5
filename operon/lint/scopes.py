"""Scopes of a parsed module: where a name is found, and what a class has.

Names are found as Python finds them; bases only among the classes of the module.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from operon.lint.bindings import Value
from operon.lint.bindings import bindings_of


class Scope:
    """A module, class, function, lambda or comprehension, and what its names mean.

    Attributes:
        node: What the scope belongs to.
        parent: The scope around it; None for the module.
        owner: Whose instance, or class, the first parameter of a method is.
        is_body: Whether what stands here is examined itself, and not around it.
        origins: What is known of the expressions seen here; kept by `origins`.
    """

    def __init__(
        self,
        node: ast.AST,
        parent: "Scope | None" = None,
        owner: "Owner | None" = None,
        *,
        is_body: bool = False,
    ) -> None:
        self.node = node
        self.parent = parent
        self.owner = owner
        self.is_body = is_body
        self.bindings = bindings_of(node)
        self.origins: dict[ast.expr, str | None] = {}

    @property
    def is_module(self) -> bool:
        """Whether names found here are global."""
        return self.parent is None

    def find(self, name: str) -> "Scope | None":
        """Return the scope that binds *name* as it is seen here; None if none does."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings.module:
                scope = scope.top()
                return scope if name in scope.bindings.values else None
            if name in scope.bindings.values and scope.shows_names_to(self):
                return scope
            scope = scope.parent
        return None

    def top(self) -> "Scope":
        """Return the module."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def shows_names_to(self, inner: "Scope") -> bool:
        """Tell whether *inner* sees what is bound here: a class hides it."""
        return self is inner or not isinstance(self.node, ast.ClassDef)

    def only_value(self, name: str) -> Value:
        """Return what *name*, bound here, is bound to; None if to several things."""
        values = self.bindings.values[name]
        return values[0] if len(values) == 1 else None

    def owner_called(self, name: str) -> "Owner | None":
        """Return whose instance or class *name* is, if it is a method's first."""
        where = self.find(name)
        if where is None or where.owner is None:
            return None
        first = first_parameter(where.node)
        alone = len(where.bindings.values[name]) == 1  # it is not bound again
        return where.owner if alone and name == first else None


def first_parameter(node: ast.AST) -> str | None:
    """Return the name of the first parameter of the function *node*."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    names = [*node.args.posonlyargs, *node.args.args]
    return names[0].arg if names else None


class Member(NamedTuple):
    """What a class, or a base of it in the same module, has under a name."""

    value: Value
    holder: "Klass"


@dataclass(eq=False)
class Klass:
    """A class of the module."""

    node: ast.ClassDef
    qualname: str
    """As Python's own `__qualname__`, with `<locals>`."""
    scope: Scope
    """The class's own."""
    known: "dict[ast.ClassDef, Klass]"
    """Every class of the module."""

    def bases(self) -> "Iterator[Klass]":
        """Yield the direct bases that are classes of the same module."""
        for each in self.node.bases:
            found = self.local_class(plain(each))
            if found is not None and found is not self:
                yield found

    def local_class(self, name: ast.expr) -> "Klass | None":
        """Return the class of the module that *name* names where this one is."""
        around = self.scope.parent
        return None if around is None else class_named(name, around, self.known)

    def lineage(self) -> "list[Klass]":
        """Return the class and its bases of the module, nearest first."""
        found: list[Klass] = [self]
        for each in found:  # grows meanwhile
            found.extend(base for base in each.bases() if base not in found)
        return found

    def member(self, name: str) -> Member | None:
        """Return what instances have under *name*, if the module says so."""
        return _member(self.lineage(), name)

    def inherited(self, name: str, holder: "Klass") -> Member | None:
        """Return what `super()` has under *name* in a method that *holder* defines."""
        lineage = self.lineage()
        return _member(lineage[lineage.index(holder) + 1 :], name)


def _member(lineage: "list[Klass]", name: str) -> Member | None:
    for each in lineage:
        if name in each.scope.bindings.values:
            return Member(each.scope.only_value(name), each)
    return None


def class_named(
    name: ast.expr, scope: Scope, known: dict[ast.ClassDef, Klass]
) -> Klass | None:
    """Return the class of the module that *name* names in *scope*."""
    if not isinstance(name, ast.Name) or (where := scope.find(name.id)) is None:
        return None
    value = where.only_value(name.id)
    return known.get(value) if isinstance(value, ast.ClassDef) else None


def plain(expression: ast.expr) -> ast.expr:
    """Return *expression* without what stands in square brackets behind it."""
    while isinstance(expression, ast.Subscript):
        expression = expression.value
    return expression


@dataclass(frozen=True)
class Owner:
    """What the first parameter of a method is."""

    klass: Klass
    """The class whose body is examined, perhaps a subclass of the defining one."""
    holder: Klass
    """The class that defines the method: where `super()` begins."""
    is_class: bool
    """Whether it is the class itself, as in a class method."""


def classes_of(module: Scope) -> dict[ast.ClassDef, Klass]:
    """Return every class below *module*, also those inside functions."""
    known: dict[ast.ClassDef, Klass] = {}
    stack = [(module, each, "") for each in reversed(module.bindings.definitions)]
    while stack:
        parent, node, prefix = stack.pop()
        scope = Scope(node, parent)
        qualname = prefix + node.name
        if isinstance(node, ast.ClassDef):
            known[node] = Klass(node, qualname, scope, known)
        inner = f"{qualname}." if isinstance(node, ast.ClassDef) else _local(qualname)
        stack.extend(
            (scope, each, inner) for each in reversed(scope.bindings.definitions)
        )
    return known


def _local(qualname: str) -> str:
    return f"{qualname}.<locals>."
