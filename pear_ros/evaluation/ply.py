"""Reads the vertices of a PLY file, the format of EHF's ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pear_ros.assets.arrays import BrokenFileError
from pear_ros.people import FloatArray

MAX_FILE_BYTES = 1 << 28
MAX_HEADER_BYTES = 1 << 16
# PLY's names of types -> numpy's.
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str]]  # name, numpy's type; "" for the type of a list


def read_vertices(path: Path) -> FloatArray:
    """Reads (V, 3) the x, y and z of all vertices; text or binary of either byte order.

    Raises:
        BrokenFileError: If the file is truncated, damaged, or has no vertices; its text is meant to
            follow the path.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BrokenFileError("is larger than any mesh of a person")
    end = data.find(b"end_header", 0, MAX_HEADER_BYTES)
    begin = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or begin == 0:
        raise BrokenFileError("is not a PLY file")
    form, elements = _header(data[:end].decode("ascii", "replace"))
    vertices = elements[0]
    if vertices.name != "vertex":
        raise BrokenFileError("does not begin with its vertices")
    names = [name for name, _ in vertices.properties]
    if not {"x", "y", "z"} <= set(names) or "" in [kind for _, kind in vertices.properties]:
        raise BrokenFileError("has vertices without x, y and z, or with lists")
    if form == "ascii":
        columns = _text_columns(data[begin:], vertices.count, len(names))
        xyz = columns[:, [names.index(axis) for axis in "xyz"]]
    else:
        order = BYTE_ORDERS[form]
        row = np.dtype([(name, order + kind) for name, kind in vertices.properties])
        if len(data) - begin < vertices.count * row.itemsize:
            raise BrokenFileError("is truncated")
        rows = np.frombuffer(data, row, vertices.count, begin)
        xyz = np.stack([rows[axis] for axis in "xyz"], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        result: FloatArray = xyz.astype(np.float32)
    if not len(result) or not np.isfinite(result).all():
        raise BrokenFileError("has no vertices, or some that are not finite")
    return result


def _header(text: str) -> tuple[str, list[_Element]]:
    """The format and the elements with their properties, in the file's order."""
    form = ""
    elements: list[_Element] = []
    try:
        for line in text.splitlines()[1:]:
            match line.split():
                case ["format", form, "1.0"]:
                    pass
                case ["element", name, count]:
                    elements.append(_Element(name, int(count), []))
                case ["property", "list", _, _, name]:
                    elements[-1].properties.append((name, ""))
                case ["property", kind, name]:
                    elements[-1].properties.append((name, TYPES[kind]))
                case ["comment" | "obj_info", *_] | []:
                    pass
                case _:
                    raise ValueError(line)
    except (IndexError, KeyError, ValueError) as error:
        raise BrokenFileError(f"has a damaged header ({error})") from error
    names = [[name for name, _ in element.properties] for element in elements]
    if any(len(set(of_element)) < len(of_element) for of_element in names):
        raise BrokenFileError("has a damaged header (a property is named twice)")
    if not elements or elements[0].count < 0 or form not in ("ascii", *BYTE_ORDERS):
        raise BrokenFileError("has a damaged header")
    return form, elements


def _text_columns(data: bytes, rows: int, columns: int) -> FloatArray:
    lines = data.decode("ascii", "replace").splitlines()[:rows]
    try:
        values = np.array([line.split() for line in lines], np.float64)
    except ValueError as error:
        raise BrokenFileError("has a vertex that is not numbers") from error
    if values.shape != (rows, columns):
        raise BrokenFileError("is truncated")
    return values.astype(np.float32)
