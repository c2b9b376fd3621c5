"""Which names a function, class or module binds, and to what, as its text says.

One scope at a time: what a nested function or class binds is its own. It does not
know what the values are; `origins` finds out.
"""

import ast
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import cast

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Imported:
    """A name that an import binds."""

    origin: str
    """Dotted, such as `datetime.datetime`; relative imports keep their dots."""


@dataclass(frozen=True)
class Typed:
    """A name whose annotation says what it is."""

    annotation: ast.expr
    value: ast.expr | None = None
    """What it is given there, if anything."""


Value = ast.expr | Definition | Imported | Typed | None
"""What a name is bound to; None if the text does not say."""


@dataclass
class Bindings:
    """What one scope binds."""

    values: dict[str, list[Value]] = field(default_factory=dict[str, list[Value]])
    """Every name that is local here; empty if it is only changed in place."""
    outer: set[str] = field(default_factory=set[str])
    """Names declared nonlocal."""
    module: set[str] = field(default_factory=set[str])
    """Names declared global."""
    definitions: list[Definition] = field(default_factory=list[Definition])
    """The functions and classes defined here, in order."""

    def bind(self, name: str, *values: Value) -> None:
        """Let *name* be local, and take *values*."""
        self.values.setdefault(name, []).extend(values)


def bindings_of(scope: ast.AST) -> Bindings:
    """Return what *scope* binds: a module, class, function, lambda or comprehension."""
    found = Bindings()
    if isinstance(scope, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
        _bind_parameters(found, scope.args)
    if isinstance(scope, Comprehension):
        for each in scope.generators:
            _bind_target(found, each.target, None)
    else:
        _bind_body(found, scope)
    for name in found.outer | found.module:
        found.values.pop(name, None)
    return found


def _bind_parameters(found: Bindings, arguments: ast.arguments) -> None:
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        found.bind(each.arg, Typed(each.annotation) if each.annotation else None)
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            found.bind(rest.arg, None)


def _bind_body(found: Bindings, scope: ast.AST) -> None:
    """Bind what the statements of *scope* bind, without those of nested scopes."""
    body = cast("Any", scope).body
    stack: list[ast.AST] = [body] if isinstance(scope, ast.Lambda) else body[::-1]
    while stack:
        node = stack.pop()
        binder = _BINDERS.get(type(node).__name__)
        if binder is not None:
            binder(found, cast("Any", node))
        stack.extend(reversed(list(_same_scope(node))))


def _same_scope(node: ast.AST) -> Iterable[ast.AST]:
    """Return the children of *node* whose bindings are those of its scope.

    A walrus in a comprehension binds around it, so comprehensions are looked into.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *defaults(node.args)]
    if isinstance(node, ast.Lambda):
        return defaults(node.args)
    if isinstance(node, ast.ClassDef):
        keywords = [each.value for each in node.keywords]
        return [*node.decorator_list, *node.bases, *keywords]
    return ast.iter_child_nodes(node)


def defaults(arguments: ast.arguments) -> list[ast.expr]:
    """Return what the parameters are given by default."""
    keywords = [each for each in arguments.kw_defaults if each is not None]
    return [*arguments.defaults, *keywords]


def _bind_target(found: Bindings, target: ast.expr, value: ast.expr | None) -> None:
    """Bind the names of *target*, which takes *value*; None if that is not known."""
    if isinstance(target, ast.Name):
        found.bind(target.id, value)
    elif isinstance(target, ast.Starred):
        _bind_target(found, target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        for part, each in zip(target.elts, _parts(target, value), strict=True):
            _bind_target(found, part, each)


def _parts(
    target: ast.Tuple | ast.List, value: ast.expr | None
) -> list[ast.expr | None]:
    """Return what each part of *target* takes of *value*."""
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        every = [*target.elts, *value.elts]
        if not any(isinstance(each, ast.Starred) for each in every):
            return [*value.elts]
    return [None] * len(target.elts)


def _assign(found: Bindings, node: ast.Assign) -> None:
    for target in node.targets:
        _bind_target(found, target, node.value)


def _annotate(found: Bindings, node: ast.AnnAssign) -> None:
    if isinstance(node.target, ast.Name):
        found.bind(node.target.id, Typed(node.annotation, node.value))


def _augment(found: Bindings, node: ast.AugAssign) -> None:
    if isinstance(node.target, ast.Name):
        found.bind(node.target.id)


def _name_it(found: Bindings, node: ast.NamedExpr) -> None:
    found.bind(node.target.id, node.value)


def _loop(found: Bindings, node: ast.For | ast.AsyncFor) -> None:
    _bind_target(found, node.target, None)


def _enter(found: Bindings, node: ast.withitem) -> None:
    """Bind what `with … as` gives: nearly always what was entered."""
    if node.optional_vars is not None:
        _bind_target(found, node.optional_vars, node.context_expr)


def _define(found: Bindings, node: Definition) -> None:
    found.bind(node.name, node)
    found.definitions.append(node)


def _import(found: Bindings, node: ast.Import) -> None:
    for each in node.names:
        top = each.name.partition(".")[0]
        found.bind(each.asname or top, Imported(each.name if each.asname else top))


def _import_from(found: Bindings, node: ast.ImportFrom) -> None:
    source = "." * node.level + (node.module or "")
    for each in node.names:
        if each.name != "*":
            joined = f"{source}{'' if source.endswith('.') else '.'}{each.name}"
            found.bind(each.asname or each.name, Imported(joined))


def _delete(found: Bindings, node: ast.Delete) -> None:
    for name in _names(node.targets):
        found.bind(name)


def _names(targets: Iterable[ast.expr]) -> Iterator[str]:
    for each in targets:
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Tuple | ast.List):
            yield from _names(each.elts)


def _caught(
    found: Bindings, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar
) -> None:
    if node.name is not None:
        found.bind(node.name, None)


def _match_mapping(found: Bindings, node: ast.MatchMapping) -> None:
    if node.rest is not None:
        found.bind(node.rest, None)


def _global(found: Bindings, node: ast.Global) -> None:
    found.module.update(node.names)


def _nonlocal(found: Bindings, node: ast.Nonlocal) -> None:
    found.outer.update(node.names)


def _type_alias(found: Bindings, node: Any) -> None:
    _bind_target(found, node.name, None)


_BINDERS: dict[str, Callable[[Bindings, Any], None]] = {
    "AnnAssign": _annotate,
    "Assign": _assign,
    "AsyncFor": _loop,
    "AsyncFunctionDef": _define,
    "AugAssign": _augment,
    "ClassDef": _define,
    "Delete": _delete,
    "ExceptHandler": _caught,
    "For": _loop,
    "FunctionDef": _define,
    "Global": _global,
    "Import": _import,
    "ImportFrom": _import_from,
    "MatchAs": _caught,
    "MatchMapping": _match_mapping,
    "MatchStar": _caught,
    "NamedExpr": _name_it,
    "Nonlocal": _nonlocal,
    "TypeAlias": _type_alias,  # by name: Python 3.11 has no such class
    "withitem": _enter,
}
"""What binds a name, by the node's class."""
