"""Texts that a linter may meet: the standard library's, and every kind of statement."""

import sysconfig
from pathlib import Path

from hypothesis import strategies as st

PACKAGES = (
    "asyncio",
    "concurrent",
    "email",
    "json",
    "multiprocessing",
    "unittest",
    "urllib",
)


def library() -> list[Path]:
    """Return the files of some packages of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(file for each in PACKAGES for file in (root / each).rglob("*.py"))


_NAMES = st.sampled_from([
    "a",
    "b",
    "time",
    "set",
    "self",
    "datetime",
    "SEEN",
    "sorted",
])
_LITERALS = st.sampled_from(["1", "'x'", "None", "{1, 2}", "[]", "{}", "...", "b''"])


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    named = st.tuples(_NAMES, inner)
    return st.one_of(
        inner.map("({}).now".format),
        inner.map("({})()".format),
        inner.map("[*({}),]".format),
        inner.map("set({})".format),
        inner.map("sorted({})".format),
        inner.map("(lambda a=1, *b: {})".format),
        inner.map("f'{{({})!r:>5}}'".format),
        two.map(lambda pair: f"({pair[0]}) | ({pair[1]})"),
        two.map(lambda pair: f"({pair[0]})[{pair[1]}]"),
        two.map(lambda pair: f"({pair[0]}) if ({pair[1]}) else ({pair[0]})"),
        two.map(lambda pair: f"({pair[0]})({pair[1]}, *{pair[0]}, **{pair[1]})"),
        named.map(lambda pair: f"({pair[0]} := ({pair[1]}))"),
        named.map(lambda pair: f"[({pair[1]}) for {pair[0]} in ({pair[1]})]"),
        named.map(lambda pair: f"{{({pair[1]}) for {pair[0]} in time if {pair[0]}}}"),
        named.map(lambda pair: f"{{({pair[1]}): 1 for {pair[0]}, b in ({pair[0]})}}"),
        named.map(
            lambda pair: f"sum(({pair[1]}) for {pair[0]} in a for b in {pair[0]})"
        ),
    )


EXPRESSIONS = st.recursive(_NAMES | _LITERALS, _expressions, max_leaves=6)

_STATEMENTS = (
    "{name} = {value}",
    "{name}: {value} = {value}",
    "{name} += {value}",
    "{name}, *b = {value}",
    "({name}, a), b = ({value}, 1), 2",
    "{name}.a = ({value}).b",
    "{name}[{value}] = 1",
    "del {name}",
    "for {name} in {value}: break",
    "with {value} as {name}: pass",
    "with {value} as ({name}, a): pass",
    "try: {value}\nexcept {value} as {name}: raise\nelse: 1\nfinally: 2",
    "try: {value}\nexcept* {value} as {name}: pass",
    "import time as {name}",
    "from . import {name}",
    "from time import *",
    "match {value}:\n case [1, *{name}]: pass\n case {{'a': 1, **{name}}}: pass",
    "match {value}:\n case C(x={name}) | [{name}]: pass\n case {name}: pass",
    "global {name}",
    "def {name}(a, /, b={value}, *c, d={value}, **e) -> {value}: return {value}",
    "async def {name}(a: {value}): [b async for b in {value}]; await a",
    "class {name}(Workflow, a={value}): b = {value}",
    "class {name}({name}): def_ = lambda self: {name}",
    "@{name}.b\ndef {name}(self): yield from {value}",
    "assert {value}, {value}",
    "raise {value} from {value}",
    "while {value}: continue",
    "return {value}",
    "{value}",
    "super().{name}({value})",
    "self.{name}()",
)
STATEMENTS = st.builds(
    lambda template, name, value: template.format(name=name, value=value),
    st.sampled_from(_STATEMENTS),
    _NAMES.filter(lambda name: name != "self"),
    EXPRESSIONS,
)
