"""Changes of what outlives a body: globals, modules, classes and their containers."""

import ast
from collections.abc import Iterator

from operon.lint.bindings import Imported
from operon.lint.findings import Code
from operon.lint.findings import Problem
from operon.lint.findings import quoted
from operon.lint.origins import DICT
from operon.lint.origins import LIST
from operon.lint.origins import SET
from operon.lint.sites import Site

_CONTAINERS = {
    DICT,
    LIST,
    SET,
    "builtins.bytearray()",
    "collections.Counter()",
    "collections.OrderedDict()",
    "collections.defaultdict()",
    "collections.deque()",
}
_CHANGING = {
    "add",
    "append",
    "appendleft",
    "clear",
    "difference_update",
    "discard",
    "extend",
    "extendleft",
    "insert",
    "intersection_update",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "reverse",
    "rotate",
    "setdefault",
    "sort",
    "subtract",
    "symmetric_difference_update",
    "update",
}
_PROBLEM = "changes what outlives the body, so once more on every replay"
_CURE = "keep it in a local variable, or write it to the database in a step"
_CHANGERS = {"builtins.delattr", "builtins.next", "builtins.setattr"}


def changed(site: Site) -> Iterator[Problem]:
    """Yield a problem if something that outlives the body is changed here."""
    node = site.node
    if isinstance(node, ast.Global):
        names = ", ".join(node.names)
        yield Problem(node, Code.GLOBALS, f"`global {names}` {_PROBLEM}", _CURE)
    elif isinstance(node, ast.Attribute | ast.Subscript):
        if not isinstance(node.ctx, ast.Load) and _is_shared(node.value, site):
            yield _problem(node, node)
    elif isinstance(node, ast.Call) and _changes(node, site):
        yield _problem(node, node)


def _problem(node: ast.expr, shown: ast.expr) -> Problem:
    return Problem(node, Code.GLOBALS, f"{quoted(shown)} {_PROBLEM}", _CURE)


def _is_shared(holder: ast.expr, site: Site) -> bool:
    """Tell whether what *holder* holds is there before and after the body."""
    base = _innermost(holder)
    if isinstance(base, ast.Call):
        return site.origins.of(base) == "builtins.type()"
    if not isinstance(base, ast.Name):
        return False
    owner = site.scope.owner_called(base.id)
    if owner is not None:
        return owner.is_class or _is_class_of_self(holder)
    return _is_global(base, site)


def _innermost(node: ast.expr) -> ast.expr:
    """Return what `x` is in `x.a["b"].c`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def _is_class_of_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "__class__"


def _is_global(name: ast.Name, site: Site) -> bool:
    """Tell whether *name* is the module's own; what an import gives is as well."""
    where = site.scope.find(name.id)
    if where is None:
        return False
    return where.is_module or isinstance(where.only_value(name.id), Imported)


def _changes(call: ast.Call, site: Site) -> bool:
    """Tell whether *call* changes something that outlives the body."""
    called = call.func
    if isinstance(called, ast.Attribute):
        return called.attr in _CHANGING and _is_shared_container(called.value, site)
    if site.origins.of(called) not in _CHANGERS or not call.args:
        return False
    changed = call.args[0]
    return isinstance(changed, ast.Name) and _is_shared(changed, site)


def _is_shared_container(node: ast.expr, site: Site) -> bool:
    base = _innermost(node)
    if not isinstance(base, ast.Name):
        return False
    owner = site.scope.owner_called(base.id)
    if owner is None:
        return _is_global(base, site) and site.origins.of(base) in _CONTAINERS
    return _is_class_level(node, site) and site.origins.of(node) in _CONTAINERS


def _is_class_level(node: ast.expr, site: Site) -> bool:
    """Tell whether `self.x` is the class's, not a field: it has no annotation."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    owner = site.scope.owner_called(node.value.id)
    member = None if owner is None else owner.klass.member(node.attr)
    return member is not None and isinstance(member.value, ast.expr)
