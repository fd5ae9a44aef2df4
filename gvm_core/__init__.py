"""Generative Video Matting: automatic, temporally coherent mattes for clips of any length.

Works without ComfyUI. Importing it takes as long as importing torch: PyAV is imported when it is first needed.
"""

from .errors import GVMError
from .frames import Clip
from .host.torch_host import TorchHost
from .models.weights import MattingModel, load_model
from .pipeline import MattingPipeline
from .settings import MatteSettings
from .version import __version__
from .windows import WindowPlan

__all__ = [
    "Clip",
    "GVMError",
    "MatteSettings",
    "MattingModel",
    "MattingPipeline",
    "TorchHost",
    "WindowPlan",
    "__version__",
    "load_model",
]
