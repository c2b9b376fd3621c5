"""Threads that are used again: each piece of work is executed, under its own name."""

import threading

from operon.executor import threads as module
from operon.executor.threads import Threads
from tests.processes import eventually


def idle(threads: Threads) -> int:
    return threads._idle


def test_a_thread_that_has_finished_is_given_the_next_work():
    threads, seen = Threads(), []

    def work() -> None:
        thread = threading.current_thread()
        seen.append((thread.ident, thread.name))

    for number in range(3):
        threads.execute(f"work-{number}", work)
        eventually(lambda: idle(threads) == 1)

    assert [name for _, name in seen] == ["work-0", "work-1", "work-2"]
    assert len({ident for ident, _ in seen}) == 1


def test_work_that_comes_at_once_is_executed_at_once():
    threads, barrier = Threads(), threading.Barrier(5)

    for _ in range(4):
        threads.execute("work", barrier.wait)

    barrier.wait(10)


def test_a_thread_without_work_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(module, "_IDLE", 0.01)
    threads = Threads()
    ended = []

    threads.execute("work", lambda: ended.append(threading.current_thread()))

    eventually(lambda: ended and not ended[0].is_alive())
    assert idle(threads) == 0


def test_closed_they_end_at_once_or_after_their_work():
    threads, seen, go = Threads(), [], threading.Event()
    threads.execute("work", lambda: seen.append(threading.current_thread()))
    eventually(lambda: idle(threads) == 1)
    threads.execute("other", lambda: seen.append(threading.current_thread()))
    eventually(lambda: idle(threads) == 1)
    busy = Threads()
    busy.execute("long", lambda: (seen.append(threading.current_thread()), go.wait()))
    eventually(lambda: len(seen) == 3)

    threads.close()
    busy.close()

    eventually(lambda: not seen[0].is_alive())
    assert seen[2].is_alive()
    go.set()
    eventually(lambda: not seen[2].is_alive())


def test_no_work_is_lost_though_threads_end_all_the_time(monkeypatch):
    monkeypatch.setattr(module, "_IDLE", 0.0)
    threads, done = Threads(), []

    for number in range(500):
        threads.execute("work", lambda number=number: done.append(number))

    eventually(lambda: len(done) == 500)
    assert sorted(done) == list(range(500))
