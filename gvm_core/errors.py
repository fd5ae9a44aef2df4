"""What can go wrong, in the user's words: what was given, what is allowed, what to do."""

from importlib import import_module
from typing import Any


class GVMError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(GVMError, ValueError):
    """Frames, settings or paths that cannot be used as given."""


class ModelError(GVMError):
    """Weights that are missing, damaged, or of another model."""


class MediaError(GVMError, OSError):
    """A file or folder of pictures that cannot be read or written."""


class NoSuchFrameError(MediaError):
    """A frame asked for that lies behind the end.

    Attributes:
        count: How many frames there are.
    """

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.count)


class DownloadError(GVMError, OSError):
    """Weights that could not be fetched whole."""


class OutOfMemoryError(GVMError, MemoryError):
    """A window that does not fit into the device's memory, whichever way it is computed."""


class MissingPackageError(GVMError, ImportError):
    """A package that matting does not need, and what was asked for does."""


def optional(module: str, package: str) -> Any:
    """Import ``module``, which comes with ``package`` and is not among this pack's requirements.

    Raises:
        MissingPackageError: It is not installed; says how to get it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"this needs {package}, which is not installed: pip install {package}") from error
