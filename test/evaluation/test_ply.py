"""PLY files of every form, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import ply

from pear_ros.assets.arrays import BrokenFileError
from pear_ros.evaluation.ply import read_vertices

VERTICES = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
FORMS = ("ascii", "binary_little_endian", "binary_big_endian")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.ply"


@pytest.mark.parametrize("form", FORMS)
def test_vertices(form: str, path: Path) -> None:
    path.write_bytes(ply(VERTICES, form))
    np.testing.assert_array_equal(read_vertices(path), VERTICES)


def test_order_and_types_of_properties(path: Path) -> None:
    row = np.dtype([("z", "<f8"), ("quality", "<i2"), ("x", "<f4"), ("y", "<f8")])
    rows = np.array([(3, 9, 1, 2), (6, 9, 4, 5)], row)
    header = (
        "ply\r\nformat binary_little_endian 1.0\r\nobj_info x\r\nelement vertex 2\r\n"
        "property double z\r\nproperty int16 quality\r\nproperty float32 x\r\n"
        "property float64 y\r\nend_header\r\n"
    )
    path.write_bytes(header.encode() + rows.tobytes())
    np.testing.assert_array_equal(read_vertices(path), [(1, 2, 3), (4, 5, 6)])


BINARY, TEXT = ply(VERTICES), ply(VERTICES, "ascii")
DAMAGED = {
    "empty": (b"", "not a PLY file"),
    "another format": (b"solid mesh\n", "not a PLY file"),
    "header without an end": (BINARY.replace(b"end_header", b"comment"), "not a PLY file"),
    "truncated": (BINARY[: BINARY.index(b"end_header") + 40], "truncated"),
    "truncated text": (TEXT[: TEXT.index(b"end_header") + 40], "not numbers|truncated"),
    "text that is no number": (TEXT.replace(b" 7\n", b" x\n"), "not numbers"),
    "fewer columns": (TEXT.replace(b" 7\n", b"\n"), "truncated"),
    "unknown format": (BINARY.replace(b"little", b"middle"), "damaged header"),
    "unknown type": (BINARY.replace(b"float x", b"quark x"), "damaged header"),
    "property without an element": (BINARY.replace(b"element vertex 5\n", b""), "damaged header"),
    "same property twice": (BINARY.replace(b"float y", b"float x"), "damaged header"),
    "negative count": (BINARY.replace(b"vertex 5", b"vertex -5"), "damaged header"),
    "count that is no number": (BINARY.replace(b"vertex 5", b"vertex five"), "damaged header"),
    "more vertices than data": (BINARY.replace(b"vertex 5", b"vertex 999999999"), "truncated"),
    "no vertices": (BINARY.replace(b"vertex 5", b"vertex 0"), "no vertices"),
    "faces first": (BINARY.replace(b"element vertex", b"element face"), "does not begin with"),
    "no z": (BINARY.replace(b"float z", b"float w"), "without x, y and z"),
    "list in a vertex": (
        BINARY.replace(b"uchar red", b"list uchar int red"),
        "or with lists",
    ),
    "not finite": (ply(np.full((2, 3), np.nan)), "not finite"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(case: str, path: Path) -> None:
    content, expected = DAMAGED[case]
    path.write_bytes(content)
    with pytest.raises(BrokenFileError, match=expected):
        read_vertices(path)


def test_truncation_anywhere_is_noticed(path: Path) -> None:
    """Up to the end of the vertices; the faces are not read."""
    end = BINARY.index(b"end_header\n") + len(b"end_header\n") + len(VERTICES) * 13
    for length in range(end):
        path.write_bytes(BINARY[:length])
        with pytest.raises(BrokenFileError):
            read_vertices(path)
    path.write_bytes(BINARY[:end])
    np.testing.assert_array_equal(read_vertices(path), VERTICES)
