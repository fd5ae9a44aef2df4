"""What can go wrong, in the user's words: what was given, what is allowed, what to do."""


class GVMError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(GVMError, ValueError):
    """Frames, settings or paths that cannot be used as given."""


class ModelError(GVMError):
    """Weights that are missing, damaged, or of another model."""


class MediaError(GVMError, OSError):
    """A file or folder of pictures that cannot be read or written."""


class DownloadError(GVMError, OSError):
    """Weights that could not be fetched whole."""
