from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from operon import registry
from operon.errors import DuplicateNameError


@pytest.fixture(autouse=True)
def _registry():
    with registry.isolated():
        registry._known.clear()
        yield


@dataclass(frozen=True)
class Declared:
    name: str
    version: int = 1
    module: str = "shop"
    qualname: str = "Checkout"
    mark: int = 0

    @property
    def key(self):
        return self.name, self.version


def test_what_is_registered_is_found_by_name_and_version():
    first, second = Declared("checkout"), Declared("checkout", 2)
    registry.register(first)
    registry.register(second)

    assert registry.find("checkout", 1) is first
    assert registry.find("checkout", 2) is second
    assert registry.find("checkout", 3) is None


def test_everything_declared_is_listed_in_order():
    for declared in (Declared("b"), Declared("a", 2), Declared("a", 10)):
        registry.register(declared)

    assert registry.known() == [("a", 2), ("a", 10), ("b", 1)]
    assert [each.key for each in registry.all_declared()] == registry.known()


def test_the_same_place_replaces_what_it_registered_before():
    registry.register(Declared("checkout", mark=1))
    registry.register(Declared("checkout", mark=2))

    assert registry.find("checkout", 1) == Declared("checkout", mark=2)


@pytest.mark.parametrize("other", [{"module": "market"}, {"qualname": "Order"}])
def test_another_place_may_not_take_a_key(other):
    registry.register(Declared("checkout"))

    with pytest.raises(DuplicateNameError, match=r"shop\.Checkout has already"):
        registry.register(Declared("checkout", **other))
    assert registry.find("checkout", 1) == Declared("checkout")


def test_an_isolated_block_leaves_the_registry_as_it_was():
    kept = Declared("kept")
    registry.register(kept)

    with registry.isolated():
        registry.register(Declared("kept", mark=1))
        registry.register(Declared("gone"))

    assert registry.known() == [("kept", 1)]
    assert registry.find("kept", 1) is kept


def test_an_isolated_block_restores_the_registry_after_an_error():
    def fail():
        with registry.isolated():
            registry.register(Declared("gone"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert registry.known() == []


def test_threads_that_claim_one_key_get_one_winner():
    def claim(number):
        try:
            registry.register(Declared("checkout", module=f"m{number}"))
        except DuplicateNameError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(64))) == 1
