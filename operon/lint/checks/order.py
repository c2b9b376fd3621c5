"""Places where the order of a set decides; it differs from process to process."""

import ast
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from operon.lint.bindings import Comprehension
from operon.lint.bindings import Function
from operon.lint.findings import Code
from operon.lint.findings import Problem
from operon.lint.findings import quoted
from operon.lint.scopes import Scope
from operon.lint.sites import Site
from operon.lint.sites import is_declared
from operon.primitives import BODY_WORDS

_PROBLEM = "goes through a set, whose order differs from process to process"
_CURE = "use sorted(…), or keep a list"
_ORDERED = {
    "builtins.enumerate": 0,
    "builtins.filter": 1,
    "builtins.iter": 0,
    "builtins.list": 0,
    "builtins.map": 1,
    "builtins.tuple": 0,
    "builtins.zip": 0,
    "collections.deque": 0,
    "functools.reduce": 1,
    "itertools.accumulate": 0,
    "itertools.batched": 0,
    "itertools.chain": 0,
    "itertools.combinations": 0,
    "itertools.islice": 0,
    "itertools.pairwise": 0,
    "itertools.permutations": 0,
    "itertools.product": 0,
}
"""What keeps the order of its arguments, from which one on."""
_ORDERING_METHODS = {"extend", "fromkeys", "join"}
_UNORDERED = {
    f"builtins.{name}"
    for name in ("all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum")
}
"""What gives the same whatever the order of its arguments."""
_COSTLESS = {"now", "random", "uuid"}  # say the same at every place of the body


def disordered(site: Site) -> Iterator[Problem]:
    """Yield a problem for every set whose order decides something here."""
    for each in _gone_through(site):
        if site.origins.is_set(each):
            yield Problem(each, Code.ORDER, f"{quoted(each)} {_PROBLEM}", _CURE)
    taken = _taken_from(site)
    if taken is not None and site.origins.is_set(taken):
        fact = f"{quoted(taken)}.pop() takes any member of a set"
        yield Problem(taken, Code.ORDER, fact, "use min(…) or max(…), and discard it")


def _gone_through(site: Site) -> Iterable[ast.expr]:
    """Return what is gone through here in an order that matters."""
    node = site.node
    if isinstance(node, ast.For | ast.AsyncFor):
        return [node.iter]
    if isinstance(node, Comprehension):
        return _comprehended(node, site)
    if isinstance(node, ast.Call):
        return _passed(node, site)
    if isinstance(node, ast.Assign):
        unpacked = isinstance(node.targets[0], ast.Tuple | ast.List)
        return [node.value] if unpacked else []
    if isinstance(node, ast.YieldFrom):
        return [node.value]
    return _starred(node, site) if isinstance(node, ast.Starred) else []


def _comprehended(node: Any, site: Site) -> list[ast.expr]:
    if _gives_no_order(node, site) and not _calls_operations(node, site.scope):
        return []
    return [each.iter for each in node.generators]


def _gives_no_order(node: ast.AST, site: Site) -> bool:
    """Tell whether the order of what *node*, at *site*, gives is lost at once."""
    if isinstance(node, ast.SetComp):
        return True
    around = None if site.parent is None else site.parent
    if around is None or not isinstance(around.node, ast.Call):
        return False
    is_argument = node in around.node.args
    return is_argument and around.origins.of(around.node.func) in _UNORDERED


def _passed(call: ast.Call, site: Site) -> list[ast.expr]:
    """Return the arguments of *call* whose order it keeps."""
    called = call.func
    if isinstance(called, ast.Attribute) and called.attr in _ORDERING_METHODS:
        return call.args[:1]
    first = _ORDERED.get(site.origins.of(called) or "")
    if first is None or _gives_no_order(call, site):
        return []
    return call.args[first:]


def _starred(node: ast.Starred, site: Site) -> list[ast.expr]:
    """Return what `*x` spreads; in the display of a set its order is lost at once."""
    around = None if site.parent is None else site.parent.node
    is_lost = isinstance(around, ast.Set) or not isinstance(node.ctx, ast.Load)
    return [] if is_lost else [node.value]


def _taken_from(site: Site) -> ast.expr | None:
    """Return what `.pop()` is called of here."""
    node = site.node
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    return node.func.value if node.func.attr == "pop" and not node.args else None


def _calls_operations(node: ast.AST, scope: Scope) -> bool:
    """Tell whether *node* calls operations: their positions are in its order."""
    calls = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    return any(_is_operation(each, scope) for each in calls)


def _is_operation(called: ast.expr, scope: Scope) -> bool:
    if isinstance(called, ast.Name):
        where = scope.find(called.id)
        value = None if where is None else where.only_value(called.id)
        return (
            where is not None
            and isinstance(value, Function)
            and is_declared(value, where)
        )
    if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name):
        return False
    owner = scope.owner_called(called.value.id)
    if owner is None:
        return False
    member = owner.klass.member(called.attr)
    if member is None:
        return called.attr in BODY_WORDS - _COSTLESS
    function = member.value
    return isinstance(function, Function) and is_declared(function, member.holder.scope)
