"""The gate between transactions and whoever exchanges the file."""

from __future__ import annotations

import threading

from qstore_db.catalog.gate import Gate


def test_many_may_be_inside() -> None:
    gate = Gate()
    here = gate.enter()
    other: list[int] = []
    thread = threading.Thread(target=lambda: other.append(gate.enter()))
    thread.start()
    thread.join()
    gate.leave(other[0])
    gate.leave(here)


def test_alone_waits_until_everyone_has_left() -> None:
    gate = Gate()
    who = gate.enter()
    events: list[str] = []

    def be_alone() -> None:
        with gate.alone():
            events.append("alone")

    thread = threading.Thread(target=be_alone)
    thread.start()
    while not gate._alone:
        pass
    events.append("left")
    gate.leave(who)
    thread.join()
    assert events == ["left", "alone"]


def test_newcomers_wait_while_someone_is_alone() -> None:
    gate = Gate()
    events: list[str] = []

    def come() -> None:
        who = gate.enter()
        events.append("in")
        gate.leave(who)

    thread = threading.Thread(target=come)
    with gate.alone():
        thread.start()
        events.append("alone")
    thread.join()
    assert events == ["alone", "in"]


def test_whoever_is_inside_may_enter_again_while_another_waits_to_be_alone() -> None:
    gate = Gate()
    outer = gate.enter()

    def be_alone() -> None:
        with gate.alone():
            pass

    thread = threading.Thread(target=be_alone)
    thread.start()
    while not gate._alone:
        pass
    gate.leave(gate.enter())
    gate.leave(outer)
    thread.join()


def test_two_are_alone_one_after_the_other() -> None:
    gate = Gate()
    inside: list[int] = []
    most: list[int] = []

    def be_alone() -> None:
        for _ in range(50):
            with gate.alone():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=be_alone) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


def test_what_entered_in_one_thread_may_leave_in_another() -> None:
    gate = Gate()
    who = gate.enter()
    thread = threading.Thread(target=gate.leave, args=(who,))
    thread.start()
    thread.join()
    with gate.alone():
        pass
