"""Locks: what a user loses here is a run that is refused for nothing, or two that write over each other."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gvm_core.errors import MediaError
from gvm_core.lock import lock_file, locked

ROOT = Path(__file__).parents[2]
NO_LOCKS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]
SETUP = """
import sys, threading, time, types
from pathlib import Path
sys.modules["gvm_core"] = package = types.ModuleType("gvm_core")  # without torch, to be quick
package.__path__ = ["gvm_core"]
from gvm_core.lock import locked
folder, number = Path(sys.argv[1]), int(sys.argv[2])
if number:
    import fcntl
    def flock(*_):
        raise OSError(number, "this disk knows no locks")
    fcntl.flock = flock
"""
HAMMER = """
inside = folder.with_name("inside")
def work():
    for _ in range(25):
        with locked(folder, 60) as mine:
            if not mine:
                print("refused")
                continue
            inside.touch(exist_ok=False)  # fails if another is there
            time.sleep(0.0005)
            inside.unlink()
            print("done")
threads = [threading.Thread(target=work) for _ in range(3)]
[each.start() for each in threads], [each.join() for each in threads]
"""
HOLD = """
with locked(folder) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def start(code, folder, number=0):
    """A process that does ``code`` with a lock on ``folder``, on a disk that answers every lock with ``number``."""
    command = [sys.executable, "-W", "ignore", "-c", SETUP + code, str(folder), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=[0, *NO_LOCKS], ids=["locks", *(errno.errorcode[each] for each in NO_LOCKS)])
def disk(request, monkeypatch):
    """Disks that know locks and that do not, by what they answer."""
    if request.param:
        fcntl = pytest.importorskip("fcntl", reason="disks without locks are NOT tested")

        def flock(*_):
            raise OSError(request.param, "this disk knows no locks")

        monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def notices_the_dead(disk):
    """Whether this filelock's notes say whose they are."""
    import filelock

    return not disk or tuple(map(int, filelock.__version__.split(".")[:2])) >= (3, 22)


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_one_at_a_time_whoever_asks_and_nothing_stays(tmp_path, disk):
    folder = tmp_path / "runs" / "run"
    with locked(folder) as mine, locked(folder, 0) as second, locked(folder.with_name("other")) as other:
        assert (mine, second, other) == (True, False, True)
        thread = threading.Thread(target=lambda: found.append(locked(folder, 0).__enter__()))
        found = []
        thread.start(), thread.join()
        assert found == [False]
        holder = start(HOLD, folder, disk)
        assert holder.stdout.readline() == "False\n"
        holder.kill(), holder.wait()
    assert not any(folder.parent.iterdir())
    with locked(folder) as mine:
        assert mine


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lock_that_is_released_and_taken_again_by_many_at_once_is_had_by_all_in_turn(tmp_path, disk):
    """The file of a lock is deleted by whoever has it, while others are just opening it."""
    folder = tmp_path / "runs" / "run"
    workers = [start(HAMMER, folder, disk) for _ in range(3)]
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert [each.split() for each in said] == [["done"] * 75] * 3
    assert not any(folder.parent.iterdir())


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_process_that_dies_gives_its_lock_up(tmp_path, disk):
    if not notices_the_dead(disk):
        pytest.skip("notes of filelock before 3.22 do not say whose they are")
    folder = tmp_path / "run"
    holder = start(HOLD, folder, disk)
    assert holder.stdout.readline() == "True\n"
    with locked(folder) as mine:
        assert not mine
    holder.kill(), holder.wait()
    with locked(folder) as mine:
        assert mine
    assert not lock_file(folder).exists()


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("disk", NO_LOCKS, indirect=True)
def test_on_a_disk_without_locks_another_machines_owner_is_believed_to_live(tmp_path, disk):
    lock_file(tmp_path / "run").write_text(f"{os.getpid()}\nanother-machine\n")
    with locked(tmp_path / "run") as mine:
        assert not mine
    assert lock_file(tmp_path / "run").exists()


def test_who_wants_it_waits_for_who_has_it_a_moment(tmp_path):
    took = []

    def wait():
        with locked(tmp_path / "run", 10) as mine:
            took.append(mine)

    waiting = threading.Thread(target=wait)
    with locked(tmp_path / "run"):
        waiting.start()
        time.sleep(0.2)
        assert took == []
    waiting.join()
    assert took == [True]


def test_a_folder_that_cannot_be_made_is_said_and_not_tried_for_ever(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match=r"nothing can be written to the folder .*file"), locked(tmp_path / "file/run"):
        pytest.fail("there is no such folder")
    if os.name == "nt":
        pytest.skip("a working folder that is deleted is NOT tested: Windows does not delete it")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(MediaError, match="nothing can be written to the folder"), locked(Path("folder/run")):
        pytest.fail("there is no such folder")
