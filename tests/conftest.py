"""Fixtures for every test, and a loud word about what could not run."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import write_tiny_model

from gvm_core import TorchHost, load_model

SHARED = "PYTEST_XDIST_WORKER" in os.environ
"""Whether other processes run tests at the same time."""
if SHARED:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(1 if SHARED else min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A model folder with random weights at toy size."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_folder):
    """The toy model, loaded. Not to be changed."""
    return load_model(tiny_folder)


@pytest.fixture(scope="session")
def exact_model(tiny_folder):
    """The toy model in double precision, in which all ways of computing agree on any processor. Not to be changed."""
    return load_model(tiny_folder, torch.double)


@pytest.fixture
def cpu():
    """The host for tests that must not depend on a GPU."""
    return TorchHost("cpu")


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch):
    """Abandoned runs are deleted on a disk that is nearly full, which the one that tests run on may be."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**15, used=0, free=10**15))


@pytest.fixture(autouse=True)
def no_priority():
    """libsvtav1 gives the process that calls it priority over all others, if that is root's; what it starts inherits it."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


DEAR = ("tests/comfy/", "tests/unit/test_install.py", "tests/unit/test_savings.py")
"""What takes longest begins first, so that no process waits for it at the end."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(DEAR))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Where processes share the tests, a file is one's, and so is all that needs a ComfyUI: servers are dear to start."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "comfy" if nodeid.startswith("tests/comfy/") else nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # the order above, not the largest number of tests first
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter):
    """Say in capitals what was not tested: these are the tests that matter most to users."""
    skipped = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if report.longrepr}
    for reason in sorted(reason for reason in skipped if "NOT tested" in reason):
        terminalreporter.write_line(f"WARNING: {reason.removeprefix('Skipped: ')}", red=True, bold=True)
