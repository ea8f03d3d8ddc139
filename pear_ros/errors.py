"""Errors that a user can fix: the message names the file or setting and says what to do."""


class PearError(Exception):
    """Base class; the command line prints the message without a traceback."""


class AssetError(PearError):
    """A body-model file is missing, truncated or has unexpected content."""


class CheckpointError(PearError):
    """A checkpoint or network configuration is missing, truncated or has a different layout."""


class SettingError(PearError):
    """A setting has a value that cannot be used on this machine."""


class ImageError(PearError):
    """An image cannot be decoded."""


class ExportError(PearError):
    """The network cannot be exported to ONNX, or an ONNX file has unexpected content."""


class EngineError(PearError):
    """A TensorRT engine cannot be built, run or trusted."""


class StaleEngineError(EngineError):
    """An engine is missing, damaged or made for another machine or network; rebuilding fixes it."""


class LabelError(PearError):
    """A file with labels or keypoints is missing, damaged, inconsistent or cannot be written."""
