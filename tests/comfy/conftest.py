"""The ComfyUI releases to test in, or one loud skip where there is none."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from comfy_env import OLDEST, environment, find_comfyui, releases

collect_ignore = ["inside"]
WHERE = "NO COMFYUI FOUND: set COMFYUI_PATH, or install one at ~/comfy/ComfyUI. The nodes were NOT tested."
TOO_YOUNG = (
    f"NO COMFYUI {OLDEST} FOUND: set COMFYUI_OLDEST_PATH, or fetch the whole history of the ComfyUI there is. "
    "The nodes were NOT tested on the oldest release they support."
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_generate_tests(metafunc):
    if "comfyui" in metafunc.fixturenames:
        found = find_comfyui()
        cases = releases(found).items() if found else [("none", None)]
        metafunc.parametrize("comfyui", cases, ids=[name for name, _ in cases], indirect=True, scope="session")


@pytest.fixture(scope="session")
def comfyui(request):
    """The folder of one ComfyUI release."""
    name, folder = request.param
    if folder is None:
        pytest.skip(TOO_YOUNG if name == OLDEST else WHERE)
    return folder


@pytest.fixture(scope="session")
def comfy_python(comfyui):
    """A python with ComfyUI's requirements in it and no others, and nothing of the user's touched."""
    return environment(find_comfyui())


@pytest.fixture(scope="session")
def browse():
    """Gives a page of a Chromium that a server's page can be opened in (`open_page`): a context manager."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip("NO CHROMIUM FOUND: install one. ComfyUI's page with this pack was NOT tested.")
    from playwright.sync_api import sync_playwright

    @contextmanager
    def opened(server):
        server.post("/settings/Comfy.TutorialCompleted", True)  # or a dialog covers a first visit
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            yield browser.new_page(viewport={"width": 1600, "height": 1000})
            browser.close()

    return opened
