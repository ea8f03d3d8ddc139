"""Writer of the people file, docs/reference/people_file.md.

The rows of each image are on the disk before the next image, in a folder beside the output, and
become the output at the end. So memory does not grow with the number of images, a run that is
killed loses nothing, and an older output stays whole until the new one is complete.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.camera import intrinsics_of
from pear_ros.people import Camera, EhmParameters, People
from pear_ros.system.files import CHUNK_BYTES, replacing

PART_SUFFIX = ".part"  # of the folder with the rows
_HEADER_BYTES = 192  # of an array's file; has room for every number of rows


class PeopleWriter:
    """Collects the people of images; `finish` writes the file.

    Leaving the context removes the rows. If an exception leaves it, they stay in `folder`.

    Args:
        output: The folder of the rows, `<name>.<random>.part`, is made beside it.
        vertices: Whether to write the meshes.

    Raises:
        OSError: If the folder cannot be made.
    """

    def __init__(self, output: Path, vertices: bool) -> None:
        # mkdtemp never takes a folder or link that exists.
        prefix = f"{output.name[:100]}."
        self.folder = Path(tempfile.mkdtemp(PART_SUFFIX, prefix, output.parent))
        self.images = 0
        self._vertices = vertices
        self._columns: dict[str, _Column] = {}

    def __enter__(self) -> PeopleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for column in self._columns.values():
            column.file.close()
        if kind is None or self.images == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, name: str, camera: Camera, people: People) -> None:
        """Writes the rows of one image; `people` need vertices if they are to be written.

        Raises:
            OSError: If they cannot be written; those of earlier images are unharmed.
        """
        rows = _rows(self.images, name, camera, people)
        if self._vertices:
            assert people.vertices is not None
            rows["vertices"] = people.vertices
        for array, values in rows.items():
            if array not in self._columns:
                self._columns[array] = _Column(self.folder / f"{array}.npy", values)
            self._columns[array].append(values)
        self.images += 1

    def finish(self, output: Path) -> None:
        """Writes the .npz file `output`, which has at least one image, in place of an older one.

        Raises:
            OSError: If it cannot be written; an older file is unharmed.
        """
        with replacing(output) as file, zipfile.ZipFile(file, "w") as archive:
            for array, column in self._columns.items():
                with archive.open(f"{array}.npy", "w", force_zip64=True) as member:
                    column.file.seek(0)
                    shutil.copyfileobj(column.file, member, CHUNK_BYTES)


class _Column:
    """An array in a .npy file that grows by rows; a whole file after each of them."""

    def __init__(self, path: Path, like: NDArray[Any]) -> None:
        self._path = path
        self._dtype = like.dtype
        self._shape = like.shape[1:]
        self._rows = 0
        self.file: BinaryIO = path.open("xb+")
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        if values.dtype.itemsize > self._dtype.itemsize:  # a longer text
            self._widen(values.dtype)
        self.file.seek(0, 2)
        self.file.write(np.ascontiguousarray(values, self._dtype).tobytes())
        self.file.flush()
        self._rows += len(values)
        self._write_header()

    def _write_header(self) -> None:
        """Format 1.0 of NumPy, filled up to a fixed length, so that it can be written again."""
        fields = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        text = repr(fields).encode().ljust(_HEADER_BYTES - 11) + b"\n"
        self.file.seek(0)
        self.file.write(b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text)
        self.file.flush()

    def _widen(self, dtype: np.dtype[Any]) -> None:
        """Writes the rows anew; the old file stays until the new one is whole."""
        self.file.seek(0)
        old = np.load(self.file, allow_pickle=False)
        wide = _Column(self._path.with_suffix(".wide"), old.astype(dtype))
        with self.file, wide.file:
            wide.append(old)
            os.replace(wide._path, self._path)
        self.file = self._path.open("rb+")
        self._dtype = dtype


def _rows(index: int, name: str, camera: Camera, people: People) -> dict[str, NDArray[Any]]:
    """The arrays of one image, but its vertices: `image_names` has one row, the others N."""
    count = len(people)
    return {
        "image_names": np.array([name], np.str_),
        "image_index": np.full(count, index, np.int64),
        "id": np.array(people.ids, np.str_),
        "boxes_xyxy": people.boxes.xyxy,
        "score": people.boxes.scores,
        "crop_xywh": people.crop_xywh,
        "intrinsics": np.repeat(intrinsics_of([camera]).numpy(), count, axis=0),
        "joints": people.joints,
        "translation": people.translation,
        "is_metric": np.full(count, people.is_metric, np.bool_),
        "visible": np.array(people.visible, np.bool_),
        "age_s": people.age_s,
        "plausibility": people.plausibility,
        "shape_confidence": people.shape_confidence,
        "velocity": people.velocity,
        "joint_velocity": people.joint_velocity,
        "contact": people.contact,
        "covariance": people.covariance,
        "joint_sigma_m": people.joint_sigma_m,
        "distance_source": np.array(people.distance_source, np.str_),
        **{
            field.name: getattr(people.parameters, field.name).numpy()
            for field in dataclasses.fields(EhmParameters)
        },
    }
