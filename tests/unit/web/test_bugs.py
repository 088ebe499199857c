"""Reports of bugs without anybody's words."""

import logging
import sys

from understudy.web.bugs import WordlessFormatter, report

SECRET = "what-a-person-wrote"


def fail() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise KeyError(SECRET) from error


def test_a_report_has_places_and_types_and_no_words(capsys) -> None:
    try:
        fail()
    except KeyError as error:
        report(ExceptionGroup(SECRET, [error]))
    said = capsys.readouterr().err
    for part in ("in fail", "ValueError", "KeyError", "ExceptionGroup", "test_bugs.py"):
        assert part in said
    assert SECRET not in said


def test_so_have_the_logs_of_libraries() -> None:
    try:
        fail()
    except KeyError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it broke", (), sys.exc_info())
    said = WordlessFormatter("%(message)s").format(record)
    assert said.startswith("it broke")
    assert "KeyError" in said
    assert SECRET not in said
