"""Handlers that swallow what the engine raises to suspend, cancel or end a run."""

import ast
from collections.abc import Iterator

from operon.lint.findings import Code
from operon.lint.findings import Problem
from operon.lint.sites import Site

_PROBLEM = (
    "swallows what unwinds the body when the run is suspended, cancelled or moved"
)
_CURE = (
    "catch Exception, and RunCancelled to compensate for a cancel, or end the handler "
    "with a plain raise"
)
_EVERYTHING = "builtins.BaseException"
_BACK = (ast.Return,)
_AWAY = (ast.Return, ast.Break, ast.Continue)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def swallowed(site: Site) -> Iterator[Problem]:
    """Yield a problem if something here catches everything and does not raise it on."""
    node = site.node
    if isinstance(node, ast.ExceptHandler):
        if _catches_all(node.type, site) and not _raises_on(node):
            shown = "`except:`" if node.type is None else "`except BaseException`"
            yield Problem(node, Code.BROAD_EXCEPT, f"{shown} {_PROBLEM}", _CURE)
    elif isinstance(node, ast.Call) and _suppresses_all(node, site):
        fact = f"`suppress(BaseException)` {_PROBLEM}"
        yield Problem(node, Code.BROAD_EXCEPT, fact, "suppress Exception")
    elif isinstance(node, ast.Try | ast.TryStar):
        for each in _leaving(node.finalbody):
            word = type(each).__name__.lower()
            fact = f"`{word}` in `finally` {_PROBLEM}"
            yield Problem(each, Code.BROAD_EXCEPT, fact, "put it behind the finally")


def _catches_all(caught: ast.expr | None, site: Site) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_catches_all(each, site) for each in caught.elts)
    return site.origins.of(caught) == _EVERYTHING


def _suppresses_all(call: ast.Call, site: Site) -> bool:
    is_suppress = site.origins.of(call.func) == "contextlib.suppress"
    return is_suppress and any(_catches_all(each, site) for each in call.args)


def _raises_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether *handler* ends by raising what it has caught."""
    last = handler.body[-1]
    if not isinstance(last, ast.Raise):
        return False
    return last.exc is None or (
        isinstance(last.exc, ast.Name) and last.exc.id == handler.name
    )


def _leaving(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements by which the `finally` block *body* is left early."""
    stack: list[tuple[ast.AST, bool]] = [(each, False) for each in body]
    while stack:
        node, in_loop = stack.pop()
        if isinstance(node, _BACK if in_loop else _AWAY):
            yield node
        if not isinstance(node, _FUNCTIONS):
            inside = in_loop or isinstance(node, _LOOPS)
            stack.extend((each, inside) for each in ast.iter_child_nodes(node))
