"""Errors that a user can mend: the message names the file or setting and says what to do."""


class PearError(Exception):
    """Base of the errors below; the command line prints its text without a traceback."""


class AssetError(PearError):
    """A body-model file is missing, truncated or not what its name says."""


class CheckpointError(PearError):
    """A checkpoint or network configuration is missing, truncated or of another layout."""


class SettingError(PearError):
    """A setting has a value that cannot be used on this machine."""


class ImageError(PearError):
    """An image cannot be decoded."""
