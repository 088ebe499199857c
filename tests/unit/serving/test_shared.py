"""Limits that several processes share, and room for more names than there is."""

import subprocess
import sys

import pytest

from understudy.serving.shared import ADDRESSES, LONGEST, WINDOW, Board

DAY = 20261129


def test_a_bucket_refills_with_the_clock_and_is_full_at_first() -> None:
    table = Board().users
    now = [0.5]  # a machine that has just been started
    assert [table.take("ann", 3, lambda: now[0])[0] for _ in range(4)] == [0, 0, 0, 20]
    assert table.take("bob", 3, lambda: now[0])[0] == 0
    now[0] += 20
    assert table.take("ann", 3, lambda: now[0])[0] == 0
    assert table.look("ann", DAY)[0] == 3
    now[0] -= 10  # another process has read the clock before, and waited
    assert table.take("ann", 3, lambda: now[0])[0] == pytest.approx(20)


def test_a_days_tokens_are_seeded_once_and_end_with_the_day() -> None:
    table = Board().users
    assert table.look("ann", DAY)[1] is None
    assert table.seed("ann", DAY, 50) == 50
    assert table.seed("ann", DAY, 70) == 50  # another worker was earlier
    table.add("ann", DAY, 5)
    assert table.look("ann", DAY)[1] == 55
    table.add("ann", DAY + 1, 4)
    assert table.look("ann", DAY)[1] is None
    assert table.look("ann", DAY + 1)[1] == 4


def test_without_room_the_name_used_least_recently_is_given_up() -> None:
    table = Board(users=1).users  # all names share one window
    for number in range(WINDOW):
        assert table.take(f"user {number}", 2, lambda now=number: 100 + now)[0] == 0
        table.seed(f"user {number}", DAY, number)
    assert table.take("user 0", 2, lambda: 200)[0] == 0
    assert table.take("one more", 2, lambda: 201)[0] == 0
    assert table.look("user 1", DAY)[1] is None
    table.add("user 1", DAY, 9)  # to be read from the store
    assert table.look("user 1", DAY)[1] is None
    assert [table.look(f"user {n}", DAY)[1] for n in (0, 2, 7)] == [0, 2, 7]


def test_many_names_keep_their_own_values() -> None:
    table = Board().addresses
    number = ADDRESSES // 8
    for name in range(number):
        table.seed(str(name), DAY, name)
    assert [table.look(str(name), DAY)[1] for name in range(number)] == list(range(number))


def test_the_last_outcome_is_whole_and_can_be_read() -> None:
    outcome = Board().outcomes["log"]
    assert (outcome.state, outcome.error) == ("ok", None)
    outcome.failed("ü" * LONGEST)
    assert outcome.state == "failing"
    assert set(outcome.error) == {"ü"}
    outcome.failed("")
    assert outcome.error
    outcome.succeeded()
    assert (outcome.state, outcome.error) == ("ok", None)


def test_a_worker_in_the_place_of_a_killed_one_keeps_its_counts() -> None:
    board = Board(2)
    for index in (0, 1):
        board.enter(index)
        board.count("put", 5)
        board.count("written", 3)
        board.set_ready()
    assert board.connected(4) == 0
    board.enter(0)
    assert board.connected(1) == 4
    assert not board.is_ready(0)
    assert board.is_ready(1)
    board.enter(1)
    assert board.total("put") == board.total("written") == 6  # the rest will not be written
    assert board.total("connections") == 1
    board.close()


TAKES = """
import os, signal, sys
from understudy.serving.shared import Board
board, frozen = Board(4), (lambda: 100.0)
ends = []
for index in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        taken = 0
        while board.users.take("ann", 20_000, frozen)[0] == 0:
            board.users.add("ann", 20261129, 7)
            taken += 1
        os.write(writer, str(taken).encode())
        os._exit(0)
    os.close(writer)
    ends.append(reader)
board.users.seed("ann", 20261129, 0)
taken = [int(os.read(end, 99)) for end in ends]
assert sum(taken) == 20_000, taken
used = board.users.look("ann", 20261129)[1]
assert used == 7 * 20_000, used
holds, held = os.pipe()
child = os.fork()
if child == 0:
    with board.users.lock:
        os.write(held, b"x")
        signal.pause()
os.read(holds, 1)
os.kill(child, signal.SIGKILL)
assert board.users.take("bob", 1, frozen)[0] == 0  # the lock has gone with its holder
"""


def test_four_processes_take_exactly_what_there_is() -> None:
    subprocess.run([sys.executable, "-c", TAKES], check=True)
