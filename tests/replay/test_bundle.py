"""Reading a bundle: what is none is refused, with the reason; nothing is guessed."""

import json
from pathlib import Path
from typing import Any

import pytest

from operon.errors import ConfigurationError
from operon.errors import DecodeError
from operon.errors import NonDeterminismError
from operon.replay import Bundle
from operon.replay import load
from operon.testing.replaying import replay
from tests.replay.orders import exported
from tests.replay.orders import order
from tests.replay.test_export import Zipped


@pytest.fixture
def bundle(small_shop) -> Bundle:
    return exported(small_shop, lambda self: self.settle(self.charge(1)))


@pytest.fixture
def told(bundle) -> dict[str, Any]:
    """A bundle as it stands in a file."""
    found: dict[str, Any] = json.loads(bundle.dump())
    return found


def test_a_bundle_is_loaded_from_a_file_by_path_or_name(bundle, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(bundle.dump(), encoding="utf-8")

    for source in (path, str(path)):
        assert load(source).dump() == bundle.dump()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no exported run"),
        ("no JSON", "it is no exported run"),
        ("[]", "it is no exported run"),
        ("{}", "missing required field `format`"),
        ('{"format": 2}', "it has format 2, and this Operon reads format 1"),
        ('{"format": 1}', "missing required field"),
        ("[" * 100_000, "it is no exported run"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path, text, reason):
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DecodeError, match=reason) as caught:
        load(path)

    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b'{"format": 1, "run": "\xff"}')

    with pytest.raises(DecodeError):
        load(path)


def test_a_file_that_is_not_there_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        load(Path("nowhere.json"))


def swap(told: dict[str, Any]) -> None:
    told["checkpoints"].reverse()


def double(told: dict[str, Any]) -> None:
    told["checkpoints"].append(told["checkpoints"][-1])


def both(told: dict[str, Any]) -> None:
    told["checkpoints"][0]["error"] = {}


def neither(told: dict[str, Any]) -> None:
    del told["checkpoints"][0]["output"]


def nowhere(told: dict[str, Any]) -> None:
    told["checkpoints"][0]["position"] = 0


def unwrapped(told: dict[str, Any]) -> None:
    told["checkpoints"][0]["codec"] = "zip"
    told["checkpoints"][0]["output"] = 7


def stranger(told: dict[str, Any]) -> None:
    told["run"]["status"] = "asleep"


def naive(told: dict[str, Any]) -> None:
    told["run"]["created_at"] = "yesterday"


@pytest.mark.parametrize(
    "spoil", [swap, double, both, neither, nowhere, unwrapped, stranger, naive]
)
def test_what_no_history_can_hold_is_refused(told, spoil):
    load(told)
    spoil(told)

    with pytest.raises(DecodeError, match="the bundle"):
        load(told)


def test_members_that_a_later_release_may_add_are_ignored(told, bundle):
    told["later"] = 1
    told["run"]["later"] = 1

    assert load(told).dump() == bundle.dump()


def test_arguments_that_cannot_be_read_are_refused(told, small_shop):
    told["checkpoints"][0]["arguments"] = [1]

    with pytest.raises(DecodeError, match="the arguments at position 1"):
        replay(told)


def test_in_a_test_a_replay_raises_what_the_engine_raises(told, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    for source in (told, path, str(path), load(told)):
        replay(source)

    order(lambda self: self.settle("x"))

    with pytest.raises(NonDeterminismError, match="recorded was activity 'charge'"):
        replay(path)


def test_in_a_test_the_application_says_how_values_are_stored(
    make_operon, sqlite_database
):
    operon = make_operon(sqlite_database.url, codec=Zipped())
    operon.launch()
    bundle = exported(operon, lambda self: self.settle(self.charge(1)))

    replay(bundle, operon=operon)
    with pytest.raises(DecodeError, match="'zipped'"):
        replay(bundle)


def test_a_workflow_that_is_not_declared_is_named(told):
    told["run"]["workflow"] = "Forgotten"

    with pytest.raises(ConfigurationError, match="'Forgotten' version 1") as caught:
        replay(told)

    assert "ReplayedOrder 1" in str(caught.value)
