"""The ComfyUI releases to test in, or one loud skip where there is none."""

from __future__ import annotations

import pytest
from comfy_env import environment, find_comfyui, releases

collect_ignore = ["inside"]
WHERE = "NO COMFYUI FOUND: set COMFYUI_PATH, or install one at ~/comfy/ComfyUI. The nodes were NOT tested."


def pytest_generate_tests(metafunc):
    if "comfyui" in metafunc.fixturenames:
        found = find_comfyui()
        cases = releases(found) if found else {"none": None}
        metafunc.parametrize("comfyui", cases.values(), ids=cases.keys(), indirect=True, scope="session")


@pytest.fixture(scope="session")
def comfyui(request):
    """The folder of one ComfyUI release."""
    if request.param is None:
        pytest.skip(WHERE)
    return request.param


@pytest.fixture(scope="session")
def comfy_python(comfyui):
    """A python with ComfyUI's requirements in it, ours, and nothing of the user's touched."""
    return environment(find_comfyui())
