"""Looks at torch operations: those that a CUDA graph cannot record, and their number."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Records the operations that on CUDA copy from the host or wait for the device."""

    WAITING = (
        *("lift_fresh", "_local_scalar_dense", "nonzero", "index.", "index_put"),
        "_linalg_check_errors",
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        moves = "_to_copy" in str(func) and kwargs.get("device") is not None
        uploads = str(func).startswith("aten.copy_.") and args[0].device != args[1].device
        if moves or uploads or any(name in str(func) for name in self.WAITING):
            self.found.append(str(func))
        return func(*args, **kwargs)


class Operations(TorchDispatchMode):
    """Counts the operations that compute or copy: each is a kernel launch on CUDA."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        aliases = [value.alias_info for value in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        self.count += not (is_view or "empty" in str(func) or "_unsafe_view" in str(func))
        return func(*args, **kwargs)
