"""How far a run is: what a user loses here is a true word on how long it will take."""

import re
import threading

import pytest

from gvm_core.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_earlier_runs_count_but_not_as_speed(clock):
    progress = Progress(100, shown=False)
    progress.count(40, before=True)
    assert progress.text == "40/100 frames"
    clock[0] += 5
    progress.count(10)
    assert progress.text == "50/100 frames  2.00 frames/s  00:25 left"
    clock[0] += 15
    assert progress.text == "50/100 frames  0.50 frames/s  01:40 left", "no second a frame, however slow it is"


def test_without_a_total_there_is_no_guess(clock):
    progress = Progress(None, "clips", shown=False)
    clock[0] += 2
    progress.count(50)
    assert progress.text == "50 clips  25.00 clips/s"


def test_the_bar_of_a_resumed_run_goes_on(clock, capsys):
    with Progress(1000) as progress:
        clock[0] += 5
        progress.count(900, before=True)
        for _ in range(3):
            clock[0] += 5
            progress.count(1)
        assert "903/1000" in capsys.readouterr().err


def test_only_what_is_to_be_shown_is_drawn_and_no_thread_is_started(capsys):
    before = threading.active_count()
    with Progress(4, shown=False) as progress:
        progress.count(4)
    assert capsys.readouterr() == ("", "")
    with Progress(4) as progress:
        progress.count(2, before=True)
        progress.count(2)
    drawn = capsys.readouterr()
    assert drawn.out == "" and re.search(r"100%\|.*\| 4/4 .*frames/s\]\n$", drawn.err)
    assert threading.active_count() == before


def test_bytes_are_told_by_where_they_are(capsys):
    with Progress(None, "bytes") as progress:
        for done in (0, 2_000_000, 3_000_000):
            progress.reach(done, 4_000_000)
    assert re.search(r"75%\|.*3\.00M/4\.00M .*B/s", capsys.readouterr().err)
