"""Where tests run what runs on a GPU, too: on the CPU always, on CUDA where there is one."""

from __future__ import annotations

import pytest
import torch

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_CUDA)]  # on a CPU recordings are faked
