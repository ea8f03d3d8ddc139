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


class ExportError(PearError):
    """The network cannot be written as ONNX, or such files are not what they should be."""


class EngineError(PearError):
    """A TensorRT engine cannot be built, run or trusted."""


class StaleEngineError(EngineError):
    """An engine is missing, damaged or made for something else: building it again mends that."""
