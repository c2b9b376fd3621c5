"""The plugin: what its fixtures promise, in test suites of somebody else's."""

import pytest

pytest_plugins = ["pytester"]

SHOP = """
    from datetime import timedelta

    from sqlalchemy import select
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    from operon import Workflow, activity, current, invariant, step

    class Base(DeclarativeBase):
        pass

    class Product(Base):
        __tablename__ = "products"
        sku: Mapped[str] = mapped_column(primary_key=True)
        stock: Mapped[int]

    class PluginFree(Workflow):
        def run(self) -> None:
            self.now()

    class PluginSale(Workflow):
        sku: str

        @step
        def take(self, session: Session) -> int:
            product = session.get_one(Product, self.sku)
            product.stock -= 1
            return product.stock

        @activity(timeout=timedelta(seconds=5))
        def pay(self, left: int, currency: str = "EUR") -> str:
            raise ConnectionError("the world is not there")

        @invariant
        def stock_is_never_negative(self, session: Session) -> None:
            assert session.scalars(select(Product.stock)).one() >= 0

        def run(self) -> str:
            left = self.take()
            self.sleep(timedelta(days=30))
            return self.pay(left)
"""
CONFTEST = """
    import pytest

    from shop import Base

    @pytest.fixture(scope="session")
    def operon_metadata():
        return Base.metadata
"""


@pytest.fixture
def suite(pytester, request):
    """A test suite of somebody else's; on a server of PostgreSQL's if it is asked."""
    pytester.makepyfile(shop=SHOP)
    pytester.makeconftest(CONFTEST)

    def run(tests, *args, passed=0, **outcomes):
        pytester.makepyfile(test_shop=tests)
        found = pytester.runpytest_inprocess(
            *("-p", "no:randomly", "-p", "no:xdist", "-W", "error"),
            *args,
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # it is imported here
        )
        found.assert_outcomes(passed=passed, **outcomes)
        return found

    return run


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request):
    """The option that names where databases are made."""
    if request.param == "sqlite":
        return ()
    return (
        "--operon-database-url",
        request.getfixturevalue("postgres_server").url("postgres"),
    )


def test_a_test_sees_what_it_did_and_the_next_one_does_not(suite, server):
    suite(
        """
        import pytest
        from sqlalchemy import func, select
        from operon.models import Checkpoint, WorkflowRun
        from shop import PluginSale, Product

        @pytest.mark.parametrize("time", [1, 2, 3])
        def test_sale(operon_session, operon_runtime, operon_activities, time):
            count = select(func.count())
            assert operon_session.scalar(count.select_from(Product)) == 0
            assert operon_session.scalar(count.select_from(WorkflowRun)) == 0
            operon_session.add(Product(sku="book", stock=7))
            operon_session.commit()
            operon_activities.fake("pay", returns="paid")

            assert operon_runtime.run(PluginSale("book"), id="sale") == "paid"

            assert operon_session.get_one(Product, "book").stock == 6
            assert operon_session.scalar(count.select_from(Checkpoint)) == 3
        """,
        *server,
        passed=3,
    )


def test_whoever_forgets_the_session_commits_nothing_either(suite, server):
    suite(
        """
        import pytest
        from sqlalchemy import func, select
        from operon.models import WorkflowRun
        from shop import PluginFree

        @pytest.fixture
        def done(operon_runtime):
            operon_runtime.run(PluginFree())

        def test_one(operon_runtime):
            operon_runtime.run(PluginFree())

        def test_two(done):
            pass

        @pytest.fixture(autouse=True)
        def always(request):
            if "operon_session" in request.fixturenames:
                request.getfixturevalue("operon_runtime").run(PluginFree(), id="free")

        def test_three(operon_session, operon_runtime):
            assert operon_runtime.get_run("free").status == "succeeded"

        def test_four(operon_engine):
            with operon_engine.connect() as connection:
                count = select(func.count()).select_from(WorkflowRun)
                assert connection.scalar(count) == 0
        """,
        *server,
        passed=4,
    )


def test_a_fixture_that_would_commit_to_what_all_share_is_refused(suite, server):
    found = suite(
        """
        import pytest
        from sqlalchemy import func, select
        from operon.models import WorkflowRun
        from shop import PluginFree

        @pytest.fixture(scope="module")
        def too_early(operon_runtime):
            return operon_runtime.run(PluginFree())

        def test_one(too_early):
            pass

        def test_two(operon_engine):
            with operon_engine.connect() as connection:
                count = select(func.count()).select_from(WorkflowRun)
                assert connection.scalar(count) == 0
        """,
        *server,
        passed=1,
        errors=1,
    )
    said = "*MisuseError: operon_runtime was used while no operon_session is there, *"
    found.stdout.fnmatch_lines([said])


def test_beside_a_database_of_its_own_the_shared_runtime_is_refused(suite, server):
    suite(
        """
        import pytest
        from operon.errors import MisuseError
        from shop import PluginFree

        @pytest.mark.parametrize("time", [1, 2])
        def test_it(operon_database, operon_runtime, time):
            with pytest.raises(MisuseError, match="operon_database.operon"):
                operon_runtime.run(PluginFree(), id="free")
            operon_database.operon.run(PluginFree(), id="free")

        def test_bound(operon_runtime):
            operon_runtime.run(PluginFree(), id="free")
        """,
        *server,
        passed=3,
    )


def test_a_runtime_that_is_none_is_refused(suite):
    found = suite(
        """
        import pytest

        @pytest.fixture(scope="session")
        def operon_runtime():
            return "sqlite://"

        def test_it(operon_session):
            pass
        """,
        errors=1,
    )
    found.stdout.fnmatch_lines(["*operon_runtime: it returned a str; return *"])


def test_time_passes_when_somebody_waits_and_when_it_is_turned(suite, server):
    suite(
        """
        from datetime import timedelta
        from shop import PluginSale, Product

        def test_sale(operon_session, operon_runtime, operon_activities, operon_clock):
            operon_session.add(Product(sku="book", stock=7))
            operon_activities.fake("pay", returns="paid")
            began = operon_clock.now()

            handle = operon_runtime.start(PluginSale("book"))
            assert handle.status() == "enqueued"
            operon_clock.turn(days=1)
            assert handle.result() == "paid"

            passed = operon_clock.now() - began
            assert timedelta(days=31) <= passed < timedelta(days=31, minutes=1)
        """,
        *server,
        passed=1,
    )


def test_fakes_answer_in_place_of_activities_and_calls_are_written_down(suite):
    suite(
        """
        import pytest
        from operon.errors import MisuseError, StepTimeoutError
        from shop import PluginSale, Product

        @pytest.fixture(autouse=True)
        def stocked(operon_session):
            operon_session.add(Product(sku="book", stock=7))

        def test_a_function(operon_runtime, operon_activities):
            operon_activities.fake("pay", lambda left, in_="EUR": f"{left}{in_}")
            assert operon_runtime.run(PluginSale("book"), id="sale") == "6EUR"
            (call,) = operon_activities.calls("PluginSale.pay")
            assert (call.args, call.returned, call.attempt) == ((6,), "6EUR", 1)
            assert call.idempotency_key == "sale/3" and call.is_fake

        def test_an_error(operon_runtime, operon_activities):
            operon_activities.fake(PluginSale.pay, raises=ZeroDivisionError("no"))
            with pytest.raises(ZeroDivisionError):
                operon_runtime.run(PluginSale("book"))
            assert isinstance(operon_activities.calls()[0].raised, ZeroDivisionError)

        def test_no_fake(operon_runtime, operon_activities):
            with pytest.raises(ConnectionError):
                operon_runtime.run(PluginSale("book"))
            assert not operon_activities.calls("pay")[0].is_fake

        def test_too_late(operon_runtime, operon_activities, operon_clock):
            operon_activities.fake("pay", lambda left: operon_clock.turn(seconds=6))
            with pytest.raises(StepTimeoutError):
                operon_runtime.run(PluginSale("book"))

        def test_a_name_that_is_none(operon_activities):
            with pytest.raises(MisuseError, match="'pya' is declared by no workflow"):
                operon_activities.fake("pya", returns=1)
            with pytest.raises(MisuseError, match="'pya' is declared by no workflow"):
                operon_activities.calls("pya")

        def test_two_answers(operon_activities):
            with pytest.raises(MisuseError, match="needs one answer"):
                operon_activities.fake("pay", returns=1, raises=ValueError)

        def test_a_step(operon_activities):
            with pytest.raises(MisuseError, match="is no activity"):
                operon_activities.fake(PluginSale.take, returns=1)
        """,
        passed=7,
    )


def test_a_broken_invariant_fails_the_test(suite):
    found = suite(
        """
        from shop import PluginSale, Product

        def test_sale(operon_session, operon_runtime):
            operon_session.add(Product(sku="book", stock=0))
            operon_runtime.run(PluginSale("book"), id="sale")
        """,
        failed=1,
    )
    found.stdout.fnmatch_lines(["*invariant 'stock_is_never_negative' of run 'sale'*"])


def test_the_linter_warns_of_executed_bodies_at_their_lines(suite):
    tests = """
        import random
        from operon import Workflow

        class PluginGamble(Workflow):
            def run(self) -> float:
                return random.random()

        def test_gamble(operon_session, operon_runtime):
            operon_runtime.run(PluginGamble())
        """
    suite(tests, passed=1, errors=1)  # warnings are errors there
    found = suite(tests, "-W", "default::UserWarning", passed=1, warnings=1)
    found.stdout.fnmatch_lines(["*test_shop.py:6: DeterminismWarning: *OPN002*"])


def test_spans_are_recorded_in_whatever_order_fixtures_are_named(suite):
    suite(
        """
        from shop import PluginSale, Product

        def test_sale(operon_runtime, operon_session, operon_activities, operon_spans):
            operon_session.add(Product(sku="book", stock=7))
            operon_activities.fake("pay", returns="paid")
            operon_runtime.run(PluginSale("book"))
            assert [span.name for span in operon_spans.named("step take")]
            assert ("step take", "run PluginSale") in operon_spans.tree()
        """,
        passed=1,
    )


def test_without_an_application_the_client_says_what_to_write(suite):
    found = suite("def test_it(operon_client): pass", errors=1)
    found.stdout.fnmatch_lines(["*operon_app: no application is given; override*"])


def test_a_rolled_back_session_may_last_for_a_module(suite):
    suite(
        """
        from shop import Product

        def test_one(operon_session):
            operon_session.add(Product(sku="book", stock=7))
            operon_session.commit()

        def test_two(operon_session):
            assert operon_session.get_one(Product, "book").stock == 7
        """,
        "-o",
        "operon_scope=module",
        passed=2,
    )


def test_a_database_of_its_own_commits_and_is_nobody_elses(suite, server):
    suite(
        """
        import pytest
        from sqlalchemy import create_engine, func, select
        from sqlalchemy.orm import Session
        from shop import PluginSale, Product

        @pytest.mark.parametrize("time", [1, 2])
        def test_sale(operon_database, operon_crash, time):
            with Session(operon_database.engine) as session:
                assert session.scalar(select(func.count()).select_from(Product)) == 0
                session.add(Product(sku="book", stock=7))
                session.commit()
            with pytest.raises(ConnectionError):
                operon_crash_free = operon_database.operon
                operon_crash_free.run(PluginSalePaid("book"), id="sale")
            other = create_engine(operon_database.url)
            with Session(other) as session:
                assert session.get_one(Product, "book").stock == 6
            other.dispose()

        class PluginSalePaid(PluginSale):
            def run(self) -> str:
                return self.pay(self.take())
        """,
        *server,
        passed=2,
    )


def test_whoever_waits_for_a_lock_of_the_tests_own_gives_up(suite, postgres_server):
    suite(
        """
        from sqlalchemy import text

        def test_shared(operon_session):
            assert operon_session.scalar(text("SHOW lock_timeout")) == "5s"

        def test_own(operon_database):
            with operon_database.engine.connect() as connection:
                assert connection.scalar(text("SHOW lock_timeout")) == "5s"
        """,
        "--operon-database-url",
        postgres_server.url("postgres"),
        passed=2,
    )


def test_a_run_crashes_at_a_point_and_at_each_of_its_commits(suite, server):
    suite(
        """
        import pytest
        from sqlalchemy.orm import Session
        from operon import Workflow, step
        from operon.points import Point
        from operon.testing import NotCrashSafeError
        from shop import Product

        calls = []

        class PluginTwice(Workflow):
            @step
            def take(self, session: Session) -> None:
                session.get_one(Product, "book").stock -= 1

            @step
            def again(self, session: Session) -> int:
                calls.append(1)
                session.get_one(Product, "book").stock -= len(calls)
                return session.get_one(Product, "book").stock

            def run(self) -> int:
                self.take()
                return self.again()

        class PluginOnce(PluginTwice):
            def run(self) -> int:
                return self.take() or 0

        @pytest.fixture(autouse=True)
        def stocked(operon_database):
            calls.clear()
            with Session(operon_database.engine) as session:
                session.add(Product(sku="book", stock=7))
                session.commit()

        def test_point(operon_crash):
            operon_crash.at(Point.COMMITTED, step="take")
            operon_crash.run(PluginTwice(), id="twice")
            assert operon_crash.recover().get_run("twice").status == "succeeded"

        def test_everywhere(operon_crash):
            found = operon_crash.explore(PluginOnce())
            assert found.tried == 3 * len(found.commits)

        def test_everywhere_with_a_bug(operon_crash):
            with pytest.raises(NotCrashSafeError, match="products, only after it"):
                operon_crash.explore(PluginTwice(), prepare=calls.clear)
        """,
        *server,
        passed=3,
    )


def test_fakes_answer_in_processes_that_die_too(suite):
    suite(
        """
        import pytest
        from sqlalchemy.orm import Session
        from operon.testing import Point
        from shop import PluginSale, Product

        @pytest.fixture(autouse=True)
        def world(operon_database, operon_activities):
            operon_activities.fake("pay", returns="paid")
            with Session(operon_database.engine) as session:
                session.add(Product(sku="book", stock=7))
                session.commit()

        def test_point(operon_crash, operon_activities):
            operon_crash.at(Point.EFFECT_DONE, step="pay")
            operon_crash.run(PluginSale("book"), id="sale")
            assert operon_crash.recover().handle("sale").result() == "paid"
            first, second = operon_activities.calls("pay")
            assert first.idempotency_key == second.idempotency_key

        def test_everywhere(operon_crash, operon_activities):
            def check(session):
                calls = operon_activities.calls("pay")
                assert len({call.idempotency_key for call in calls}) == 1

            found = operon_crash.explore(
                PluginSale("book"), check, prepare=operon_activities.clear
            )
            assert found.tried > 12
        """,
        passed=2,
    )


def test_what_the_application_shuts_down_stays_bound(suite):
    suite(
        """
        from sqlalchemy import func, select
        from operon.models import WorkflowRun
        from shop import PluginFree

        def test_one(operon_session, operon_runtime):
            operon_runtime.launch()
            operon_runtime.shutdown()
            operon_runtime.run(PluginFree())
            assert len(operon_runtime.list_runs()) == 1

        def test_two(operon_runtime):
            assert operon_runtime.list_runs() == []
        """,
        passed=2,
    )


def test_a_server_that_is_none_is_refused(suite):
    found = suite(
        "def test_it(operon_session): pass",
        "--operon-database-url=mysql://there",
        errors=1,
    )
    found.stdout.fnmatch_lines(["*--operon-database-url is no URL of PostgreSQL's*"])


BESIDE = """
    import pytest
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    import operon.flask
    from operon import Workflow, step
    from sqlalchemy.orm import Session

    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)

    class Product(db.Model):
        sku: Mapped[str] = mapped_column(primary_key=True)
        stock: Mapped[int]

    class PluginBeside(Workflow):
        sku: str

        @step
        def take(self, session: Session) -> int:
            product = session.get_one(Product, self.sku)
            product.stock -= 1
            return product.stock

        def run(self) -> int:
            return self.take()

    def create_app(url):
        app = Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        db.init_app(app)
        with app.app_context():
            app.extensions["shop"] = operon.flask.Operon(db.engine, app=app)

        @app.post("/take/<sku>")
        def take(sku):
            db.session.add(Product(sku=f"{sku}-twin", stock=1))
            db.session.commit()
            left = app.extensions["shop"].run(PluginBeside(sku))
            return {"left": left, "seen": db.session.get_one(Product, sku).stock}

        return app
"""


def test_it_works_beside_flask_sqlalchemy_and_factory_boy(pytester, suite, server):
    pytester.makepyfile(beside=BESIDE)
    pytester.makeconftest(
        """
        import pytest
        from beside import create_app, db

        @pytest.fixture(scope="session")
        def operon_metadata():
            return db.metadata

        @pytest.fixture(scope="session")
        def operon_app(operon_url):
            app = create_app(operon_url)
            yield app
            with app.app_context():
                db.engine.dispose()

        @pytest.fixture(scope="session")
        def operon_runtime(operon_app):
            return operon_app.extensions["shop"]

        @pytest.fixture(scope="session")
        def operon_sessions():
            return [db.session]

        @pytest.fixture
        def in_app(operon_app):
            with operon_app.app_context():
                yield
        """
    )
    suite(
        """
        import factory
        import pytest
        from sqlalchemy import func, select
        from beside import PluginBeside, Product, db

        class ProductFactory(factory.alchemy.SQLAlchemyModelFactory):
            class Meta:
                model = Product
                sqlalchemy_session = db.session
                sqlalchemy_session_persistence = "commit"
            sku = factory.Sequence("sku-{}".format)
            stock = 5

        @pytest.mark.parametrize("time", [1, 2])
        def test_request(in_app, operon_client, operon_session, time):
            assert operon_session.scalar(select(func.count()).select_from(Product)) == 0
            product = ProductFactory()
            answer = operon_client.post(f"/take/{product.sku}")
            assert answer.json == {"left": 4, "seen": 4}
            assert operon_session.get_one(Product, product.sku).stock == 4
            assert operon_session.scalar(select(func.count()).select_from(Product)) == 2
        """,
        *server,
        passed=2,
    )
