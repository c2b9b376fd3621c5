"""Names that have no place in a body: clocks, chance, databases, files, threads."""

import ast
from collections.abc import Iterator

from operon.lint.findings import Problem
from operon.lint.findings import quoted
from operon.lint.origins import Origins
from operon.lint.rules import ENOUGH_ARGUMENTS
from operon.lint.rules import Rule
from operon.lint.rules import rule_of
from operon.lint.sites import Site

_Call = ast.Call | None


def touched(site: Site) -> Iterator[Problem]:
    """Yield a problem if a name is used here that a rule is about.

    A function counts when it is only passed on (`key=random.random`); a class only
    when it is called, since `isinstance(value, Session)` opens none.
    """
    rule = _rule(site)
    if rule is None or _is_told_outside(site) or _is_told_before(site):
        return
    node = site.node
    if isinstance(node, ast.Name | ast.Attribute):
        shown = quoted(node if site.call is None else site.call)
        yield Problem(node, rule.code, f"{shown} {rule.problem}", rule.cure)


def _rule(site: Site) -> Rule | None:
    node = site.node
    if not isinstance(node, ast.Name | ast.Attribute):
        return None
    if not isinstance(node.ctx, ast.Load):
        return None
    origin = site.origins.of(node)
    return None if origin is None else _rule_of_use(origin, site.call)


def _rule_of_use(origin: str, call: _Call) -> Rule | None:
    return None if _is_harmless(origin, call) else rule_of(origin)


def _is_told_before(site: Site) -> bool:
    """Tell whether the name begins with a local that was wrong when it was bound.

    After `with Session(engine) as session` the rest would only say so once more.
    """
    names = [each for each, _ in _beginnings(site.node) if isinstance(each, ast.Name)]
    where = site.scope.find(names[0].id) if names else None
    if where is None or not where.is_body:
        return False
    value = where.only_value(names[0].id)
    return isinstance(value, ast.expr) and _is_wrong(value, Origins(where))


def _is_wrong(value: ast.expr, origins: Origins) -> bool:
    """Tell whether a rule is about *value*, or about what it begins with."""
    found = ((origins.of(name), call) for name, call in _beginnings(value))
    return any(
        origin is not None and _rule_of_use(origin, call) is not None
        for origin, call in found
    )


def _beginnings(node: ast.AST) -> Iterator[tuple[ast.Name | ast.Attribute, _Call]]:
    """Yield `a.b` and `a` of `a.b().c`, each with the call of it, if it is called."""
    call: _Call = None
    while isinstance(node, ast.Call | ast.Attribute):
        if isinstance(node, ast.Call):
            call, node = node, node.func
        else:
            yield node, call
            call, node = None, node.value
    if isinstance(node, ast.Name):
        yield node, call


def _is_told_outside(site: Site) -> bool:
    """Tell whether this is the beginning of a longer name that a rule is about."""
    around = site.parent
    while around is not None and isinstance(around.node, ast.Attribute | ast.Call):
        if isinstance(around.node, ast.Call) and not _is_within_function(around, site):
            return False
        if _rule(around) is not None:
            return True
        around = around.parent
    return False


def _is_within_function(call: Site, site: Site) -> bool:
    """Tell whether *site* is in what is called by *call*, not in an argument."""
    return any(name is site.node for name, _ in _beginnings(call.node))


def _is_harmless(origin: str, call: _Call) -> bool:
    """Tell whether *origin* is used in a way that needs no clock and no chance."""
    needed = ENOUGH_ARGUMENTS.get(origin)
    if needed is not None:
        return call is None or len(call.args) + len(call.keywords) >= needed
    is_class = origin.rpartition(".")[2][:1].isupper()
    return is_class and call is None
