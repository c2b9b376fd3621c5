"""The application's own sessions join a test's transaction, and leave it again."""

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import sessionmaker

from operon.errors import MisuseError
from operon.testing.joining import joined
from tests import shop


@pytest.fixture(params=["sessionmaker", "scoped_session"])
def sessions(request, operon):
    factory = sessionmaker(operon.engine, expire_on_commit=False)
    return factory if request.param == "sessionmaker" else scoped_session(factory)


def _count(session):
    return session.scalar(select(func.count()).select_from(shop.Product))


def test_what_they_commit_is_seen_by_the_test_and_goes_with_it(operon, sessions):
    with operon.engine.connect() as connection:
        outer = connection.begin()
        with joined(sessions, connection):
            session = sessions()
            session.add(shop.Product(sku="ink", stock=3))
            session.commit()
            assert (
                connection.scalar(select(func.count()).select_from(shop.Product)) == 2
            )
            session.rollback()  # undoes nothing: it has committed
            assert _count(session) == 2
            session.close()
        outer.rollback()

    with Session(operon.engine) as session:
        assert _count(session) == 1


def test_afterwards_they_work_on_their_own_database_again(operon, sessions):
    before = sessions()
    before.close()
    with operon.engine.connect() as connection, joined(sessions, connection):
        sessions().close()
        assert sessions().get_bind() is connection

    session = sessions()
    assert session.get_bind() is operon.engine
    assert not session.expire_on_commit
    session.close()


def test_what_makes_no_sessions_is_refused(operon):
    with (
        operon.engine.connect() as connection,
        pytest.raises(MisuseError, match="makes no sessions; give a sessionmaker"),
        joined(operon.engine, connection),
    ):
        pass
