"""Errors. A message says what was given, what is allowed and what to do."""

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
    """The requested frame comes after the last one.

    Attributes:
        count: How many frames there are.
    """

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.count)


class DownloadError(GVMError, OSError):
    """Weights that could not be downloaded completely."""


class OutOfMemoryError(GVMError, MemoryError):
    """A window that does not fit into the device's memory in any variant."""


class MissingPackageError(GVMError, ImportError):
    """An optional package that is needed here and is not installed."""


def cause(error: Exception) -> str:
    """What went wrong, in as few words as the error has.

    Example:
        >>> cause(OSError(28, "No space left on device", "m.mov")), cause(ValueError())
        ('No space left on device', 'ValueError')
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def optional(module: str, package: str) -> Any:
    """Import ``module`` of ``package``, which is not among the required packages.

    Raises:
        MissingPackageError: If ``package`` is not installed. The message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"this needs {package}, which is not installed: pip install {package}") from error
