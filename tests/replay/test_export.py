"""What a bundle holds: the same on every database, nothing secret, nothing half."""

import json
import zlib
from typing import Any

import pytest
from sqlalchemy import event

from operon import Operon
from operon import Workflow
from operon.errors import DecodeError
from operon.errors import RunNotFoundError
from operon.models import WorkflowRun
from operon.replay import Bundle
from operon.replay import export
from operon.replay import load
from operon.replay import replay
from operon.status import RunStatus
from operon.store import whole
from tests.engine.facts import tamper
from tests.engine.waits import await_waiting
from tests.replay import orders
from tests.replay.orders import HOUR
from tests.replay.orders import SOON
from tests.replay.orders import again
from tests.replay.orders import ended
from tests.replay.orders import exported
from tests.replay.orders import noted
from tests.replay.orders import order


def buys(self: Any) -> dict[str, Any]:
    order_id = self.reserve(2)
    payment = self.charge(order_id, card=self.card)
    parcel = self.ship(order_id)
    self.publish(
        "receipt", {"card": {"number": self.card, "left": 1}, "parcel": parcel}
    )
    self.spawn(self.settle, payment)
    return {"payment": payment, "owner": {"Card": self.card}}


def plain(bundle: Bundle) -> dict[str, Any]:
    """Return *bundle* as it stands in a file."""
    found: dict[str, Any] = json.loads(bundle.dump())
    return found


def without_times(value: Any) -> Any:
    """Return *value* without the times, wherever they stand."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if isinstance(value, dict):
        return {
            name: without_times(each)
            for name, each in value.items()
            if not name.endswith("_at") and name != "until"
        }
    return value


def test_equal_runs_on_both_databases_have_equal_bundles(
    make_operon, sqlite_database, postgres_database
):
    def both(self: Any) -> Any:
        told = buys(self)
        return [told, self.receive("go", timeout=HOUR)]

    bundles = []
    for database in (sqlite_database, postgres_database):
        orders.done.clear()
        operon = orders.launched(make_operon, database.url)
        handle = operon.start(
            order(both)(),
            id="r",
            attributes={"z": 1, "a": [1.5, None]},
            principal={"subject": "ann", "issuer": "i", "roles": ["customer"]},
        )
        await_waiting(operon, "r", 6)
        bundles.append(without_times(plain(noted(operon, "r"))))
        handle.send("go", {"n": 1})
        ended(operon, "r")
        bundles.append(without_times(plain(noted(operon, "r"))))

    waiting, ended_, *others = bundles
    assert [waiting, ended_] == others
    assert (waiting["run"]["wait"]["kind"], "wait" in ended_["run"]) == (
        "receive",
        False,
    )


def test_a_bundle_tells_its_format_and_comes_back_as_it_was(small_shop):
    bundle = exported(small_shop, buys)

    assert plain(bundle)["format"] == 1
    assert load(plain(bundle)).dump() == bundle.dump()


def test_a_value_stands_in_the_bundle_exactly_as_it_is_stored(small_shop):
    def returns(self: Any) -> Any:
        self.reserve()
        return {"b": 1.0, "a": "\u0000é", "n": 10**17, "none": None}

    bundle = exported(small_shop, returns)

    assert bytes(bundle.run.output).decode() == small_shop.get_run("r").output


def test_a_result_of_none_is_no_missing_result(small_shop):
    bundle = exported(small_shop, lambda self: self.settle("x"))

    assert plain(bundle)["checkpoints"][0]["output"] is None
    assert "error" not in plain(bundle)["checkpoints"][0]
    assert again(load(plain(bundle)), small_shop).ending == "succeeded"


def test_redaction_takes_values_by_the_names_of_their_fields(small_shop):
    orders.done.clear()
    handle = small_shop.start(
        order(buys)(card="4111-1111"), id="r", attributes={"card": "4111-1111"}
    )
    handle.result(SOON)

    bundle = noted(small_shop, "r", redact=["card", "*umber", "nothing"])

    assert "4111-1111" not in bundle.dump()
    told = plain(bundle)
    assert told["run"]["input"] == {"sku": "book", "card": "redacted"}
    assert told["run"]["attributes"] == {"card": "redacted"}
    assert told["checkpoints"][1]["arguments"] == {"order_id": 42, "card": "redacted"}
    assert told["checkpoints"][3]["arguments"]["value"]["card"] == {
        "number": "redacted",
        "left": 0,
    }
    assert told["redacted"] == {
        "names": ["card", "*umber", "nothing"],
        "fields": ["Card", "card"],
    }
    assert again(load(told), small_shop).ending == "succeeded"


def test_a_redacted_value_that_decides_makes_a_bundle_that_says_so(small_shop):
    def decides(self: Any) -> None:
        if self.card.startswith("4"):
            self.reserve()
        else:
            self.charge(1)

    exported(small_shop, decides)
    bundle = export(small_shop, "r", redact=["card"])

    assert not bundle.noted.done
    assert "called was activity 'charge'" in str(bundle.noted.reason)
    assert bundle.checkpoints[0].arguments is bundle.run.principal  # both are unset


def test_an_error_keeps_its_class_and_loses_what_is_redacted(small_shop):
    class RefusedCardError(Exception):
        def __init__(self, card: str) -> None:
            super().__init__(f"the card {card} is refused")
            self.card = card

    def fails(self: Any) -> None:
        self.reserve()
        raise RefusedCardError(self.card)

    exported(small_shop, fails)
    bundle = noted(small_shop, "r", redact=["card"])

    assert "4111" not in bundle.dump()
    assert "the card redacted is refused" in bundle.dump()
    assert again(bundle, small_shop).ending == "failed"


def test_of_a_principal_only_who_it_is_leaves_the_house(small_shop):
    who = {"issuer": "i", "subject": "s", "tenant": "t", "client": None}
    principal = {**who, "scopes": ["a"], "roles": ["r"], "token": "eyJ.x.y", "n": 7}
    small_shop.start(order(buys)(), id="r", principal=principal).result(SOON)

    bundle = export(small_shop, "r")

    assert plain(bundle)["run"]["principal"] == {
        **who,
        "scopes": ["a"],
        "roles": ["r"],
        "token": "redacted",
        "n": 0,
    }
    assert "eyJ" not in bundle.dump()
    assert bundle.redacted.fields == ["n", "token"]


def test_a_history_has_no_arguments_where_the_workflow_is_not_declared(small_shop):
    exported(small_shop, buys)
    tamper(small_shop, "r", None, version=7)

    bundle = export(small_shop, "r")

    assert not bundle.noted.done
    assert bundle.noted.reason == (
        "workflow 'ReplayedOrder' version 7 is not declared here"
    )
    bundle.run.version = 1
    replayed = again(bundle, small_shop)
    assert (replayed.ending, replayed.arguments) == ("succeeded", False)


def test_a_run_that_is_not_there_is_refused(shop):
    with pytest.raises(RunNotFoundError):
        export(shop, "nobody")


class Zipped:
    """A payload codec; what it has stored cannot be read without it."""

    name = "zipped"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


@pytest.fixture
def zipping_shop(make_operon, sqlite_database) -> Operon:
    """A shop whose values are stored by `Zipped`."""
    return orders.launched(make_operon, sqlite_database.url, codec=Zipped())


def test_what_a_payload_codec_has_stored_stays_as_it_is(zipping_shop):
    bundle = exported(zipping_shop, buys)
    redacted = noted(zipping_shop, "r", redact=["card"])

    for each in (bundle, redacted):
        assert "4111-1111" not in each.dump()
        assert "paid-42" not in each.dump()
        assert again(load(plain(each)), zipping_shop).operations == 5
    assert redacted.redacted.fields == ["Card", "card"]


def test_without_the_payload_codec_a_bundle_can_be_made_but_not_redacted_or_read(
    zipping_shop, make_operon, sqlite_database
):
    bundle = exported(zipping_shop, buys)
    stranger = make_operon(sqlite_database.url)

    assert "payload codec 'zipped'" in str(export(stranger, "r").noted.reason)
    with pytest.raises(DecodeError, match="'zipped'; known here is none"):
        export(stranger, "r", redact=["card"])
    with pytest.raises(DecodeError, match="'zipped'; known here is none"):
        replay(bundle, stranger.settings)


def test_the_row_of_a_bundle_is_never_older_than_its_history(shop):
    """A run that goes on between two reads is read again."""
    shop.start(order(lambda self: self.receive("go"))(), id="r")
    await_waiting(shop, "r", 1)
    database = shop.ready().services.database
    reads: list[str] = []

    def goes_on(*args: Any) -> None:
        statement = args[2]
        if not statement.lstrip().startswith("SELECT"):
            return
        reads.append(statement)
        if len(reads) == 1:
            shop.send("r", "go", "now")
            ended(shop, "r")

    with database.reading() as connection:
        event.listen(connection, "after_cursor_execute", goes_on)
        found = whole.read(connection, "r")

    assert found is not None
    whole_states = {
        "sqlite": (RunStatus.WAITING, []),  # one snapshot
        "postgresql": (RunStatus.SUCCEEDED, ["receive"]),
    }
    kinds = [each["kind"] for each in found.checkpoints]
    assert (found.run["status"], kinds) == whole_states[shop.engine.dialect.name]
    assert shop.get_run("r").status is RunStatus.SUCCEEDED


class ReplayedTypes(Workflow):
    """An input of many types, to be redacted."""

    text: str
    count: int
    ratio: float
    sure: bool
    parts: list[str]

    def run(self) -> int:
        self.publish("x", 1)
        return 1


def test_a_redacted_input_still_decodes(small_shop):
    workflow = ReplayedTypes("secret", 5, 2.5, sure=True, parts=["a", "b"])
    small_shop.run(workflow, id="r")

    names = ["text", "count", "ratio", "sure", "parts"]
    bundle = noted(small_shop, "r", redact=names)

    assert plain(bundle)["run"]["input"] == {
        "text": "redacted",
        "count": 0,
        "ratio": 0.0,
        "sure": False,
        "parts": ["redacted", "redacted"],
    }


def test_every_column_of_a_run_is_in_the_bundle_or_left_out_knowingly(small_shop):
    bundle = exported(small_shop, buys)
    columns = {column.key for column in WorkflowRun.__table__.columns}

    left_out = {
        *("priority", "partition", "deduplication_key", "debounce_key", "due_at"),
        *("executor", "epoch", "recoveries", "timeout", "wake_at"),
        *("fingerprint", "traceparent", "tracestate"),  # a hash may betray its value
    }
    waits = {name for name in columns if name.startswith("wait_")}
    members = set(bundle.run.__struct_fields__) - {"wait"}
    assert columns - members - waits == left_out
