"""Where a value comes from, as a dotted name: `datetime.datetime.now`.

A pair of parentheses stands for a call, whatever its arguments, and so for an instance
too: `session` after `with Session(engine) as session` is `sqlalchemy.orm.Session()`.
What the text does not say is None; it is never guessed.
"""

import ast
import builtins
from collections.abc import Callable
from typing import ClassVar

from operon.lint.bindings import Function
from operon.lint.bindings import Imported
from operon.lint.bindings import Typed
from operon.lint.bindings import Value
from operon.lint.scopes import Klass
from operon.lint.scopes import Scope
from operon.lint.scopes import plain

SET = "builtins.set()"
LIST = "builtins.list()"
DICT = "builtins.dict()"

_DISPLAYS: dict[type[ast.expr], str] = {
    ast.Dict: DICT,
    ast.DictComp: DICT,
    ast.List: LIST,
    ast.ListComp: LIST,
    ast.Set: SET,
    ast.SetComp: SET,
}
_SETS = {
    "builtins.frozenset",
    "builtins.set",
    "collections.abc.MutableSet",
    "collections.abc.Set",
    "typing.AbstractSet",
    "typing.FrozenSet",
    "typing.MutableSet",
    "typing.Set",
}
_SET_METHODS = {
    "copy",
    "difference",
    "intersection",
    "symmetric_difference",
    "union",
}
_SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
_VIEWS = {"items", "keys"}  # what a dictionary has that becomes a set by an operator
_TYPED = {"event", "receive"}  # what a body says by self with the `type=` it wants
_WRAPPERS = {"typing.Annotated", "typing.ClassVar", "typing.Final", "typing.Optional"}
_PATH = "pathlib.Path()"
_BUILTINS = frozenset(dir(builtins))
_DEEPEST = 40  # expressions that lead to expressions; nobody writes more


class Origins:
    """Finds where the expressions seen in one scope come from."""

    def __init__(self, scope: Scope, depth: int = 0) -> None:
        self._scope = scope
        self._depth = depth

    def of(self, expression: ast.expr) -> str | None:
        """Return the origin of *expression*; None if the text does not say."""
        known = self._scope.origins
        finder = self._FINDERS.get(type(expression))
        if expression not in known and finder is not None and self._depth < _DEEPEST:
            known[expression] = None  # until it is found: what leads to itself has none
            known[expression] = finder(self._deeper(), expression)
        return known.get(expression)

    def of_value(self, value: Value) -> str | None:
        """Return the origin of what a name is bound to in this scope."""
        if isinstance(value, Imported):
            return value.origin
        if isinstance(value, Typed):
            described = self.described(value.annotation)
            return described or (self.of(value.value) if value.value else None)
        return self.of(value) if isinstance(value, ast.expr) else None

    def is_set(self, expression: ast.expr) -> bool:
        """Tell whether *expression* is surely a set."""
        return self.of(expression) == SET

    def described(self, annotation: ast.expr | None) -> str | None:
        """Return the origin of what *annotation* describes."""
        if self._depth >= _DEEPEST or annotation is None:
            return None
        inner = self._deeper()
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return inner.described(_parsed(annotation.value))
        if isinstance(annotation, ast.BinOp):
            sides = (annotation.left, annotation.right)
            named = [each for each in sides if not _is_none(each)]
            return inner.described(named[0]) if len(named) == 1 else None
        origin = inner.of(plain(annotation))
        if isinstance(annotation, ast.Subscript) and origin in _WRAPPERS:
            return inner.described(_first(annotation.slice))
        return None if origin is None else _called(origin)

    def _deeper(self, scope: Scope | None = None) -> "Origins":
        return Origins(scope or self._scope, self._depth + 1)

    def _name(self, node: ast.Name) -> str | None:
        where = self._scope.find(node.id)
        if where is None:
            return f"builtins.{node.id}" if node.id in _BUILTINS else None
        values = where.bindings.values[node.id]
        origins = {self._deeper(where).of_value(each) for each in values}
        return origins.pop() if len(origins) == 1 else None

    def _attribute(self, node: ast.Attribute) -> str | None:
        klass = self._owner(node)
        if klass is not None:
            return self._member(klass, node.attr)
        base = self.of(node.value)
        return None if base is None else f"{base}.{node.attr}"

    def _owner(self, node: ast.expr) -> Klass | None:
        """Return the class whose member *node* is, if it is `self.x`."""
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        owner = self._scope.owner_called(node.value.id)
        return None if owner is None else owner.klass

    def _member(self, klass: Klass, name: str) -> str | None:
        member = klass.member(name)
        if member is None:
            return None
        value, scope = member.value, member.holder.scope
        if isinstance(value, Function):
            return self._returned(value, scope) if is_property(value) else None
        return self._deeper(scope).of_value(value)

    def _call(self, node: ast.Call) -> str | None:
        declared = self._declared(node)
        if declared is not None:
            return declared
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in _SET_METHODS:
            return SET if self.is_set(called.value) else None
        origin = self.of(called)
        return None if origin is None else _called(origin)

    def _declared(self, node: ast.Call) -> str | None:
        """Return the origin of what *node* gives by the module's own annotations."""
        called = node.func
        if isinstance(called, ast.Name):
            where = self._scope.find(called.id)
            value = None if where is None else where.only_value(called.id)
            return self._returned(value, where)
        klass = self._owner(called)
        if klass is None or not isinstance(called, ast.Attribute):
            return None
        member = klass.member(called.attr)
        if member is not None:
            return self._returned(member.value, member.holder.scope)
        wanted = [each.value for each in node.keywords if each.arg == "type"]
        is_typed = called.attr in _TYPED and wanted
        return self.described(wanted[0]) if is_typed else None

    def _returned(self, value: Value, where: Scope | None) -> str | None:
        """Return the origin of what *value*, seen in *where*, says it returns."""
        if not isinstance(value, Function):
            return None
        return self._deeper(where).described(value.returns)

    def _operator(self, node: ast.BinOp) -> str | None:
        if isinstance(node.op, _SET_OPERATORS):
            sides = (node.left, node.right)
            found = any(self.is_set(each) or _is_view(each) for each in sides)
            return SET if found else None
        if not isinstance(node.op, ast.Div):
            return None
        return _PATH if (self.of(node.left) or "").startswith(_PATH) else None

    def _either(self, node: ast.IfExp | ast.BoolOp) -> str | None:
        choices = (
            [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
        )
        origins = {self.of(each) for each in choices}
        return origins.pop() if len(origins) == 1 else None

    def _display(self, node: ast.expr) -> str | None:
        return _DISPLAYS[type(node)]

    def _same(self, node: ast.NamedExpr | ast.Await) -> str | None:
        return self.of(node.value)

    _FINDERS: ClassVar[dict[type[ast.expr], Callable[..., str | None]]] = {
        ast.Attribute: _attribute,
        ast.Await: _same,
        ast.BinOp: _operator,
        ast.BoolOp: _either,
        ast.Call: _call,
        ast.IfExp: _either,
        ast.Name: _name,
        ast.NamedExpr: _same,
        **dict.fromkeys(_DISPLAYS, _display),
    }


def dotted(node: ast.expr) -> str:
    """Return a name as it is written, such as `app.task`; empty if it is none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def is_property(function: Function) -> bool:
    """Tell whether *function* is a property, of whatever kind."""
    return any("property" in dotted(plain(each)) for each in function.decorator_list)


def _called(origin: str) -> str:
    """Return the origin of what a call of *origin* gives."""
    return SET if origin in _SETS else f"{origin}()"


def _parsed(annotation: str) -> ast.expr | None:
    """Return an annotation that is written in quotes; None if it is none."""
    try:
        return ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _first(index: ast.expr) -> ast.expr:
    """Return the first of what stands in square brackets."""
    return index.elts[0] if isinstance(index, ast.Tuple) and index.elts else index


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_view(node: ast.expr) -> bool:
    """Tell whether *node* is like `prices.keys()`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _VIEWS
        and not node.args
    )
