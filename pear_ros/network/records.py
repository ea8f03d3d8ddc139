"""The records of a checkpoint, which is a zip file: their layout and checksums.

torch reads the records without comparing checksums, and trusts their layout.
"""

from __future__ import annotations

import os
import pickletools
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pear_ros.system.files import open_file

MAX_PICKLE_BYTES = 1 << 22  # that of 2,000 tensors has 0.5 MB
MAX_OPCODES = 300_000  # an opcode takes microseconds, twice; a tensor has 40
# So that tuples cannot be nested deep enough to overflow the stack; a tensor has 5.
MAX_TUPLES = 20_000
# What weights are made of, in the module and name of the pickle's opcode. torch allows more: names
# that allocate any memory, and kinds of tensors that it does not check.
NAMES = re.compile(
    r"collections (OrderedDict|Counter)|_codecs encode|(__builtin__|builtins) (set|complex)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch(\.cuda)? [A-Z][A-Za-z0-9]+Storage|torch (Size|device|bool|[a-z]+\d+)"
    r"|torch\.serialization _get_layout"
)
CHECKING_THREADS = 4  # each checks 1 GB/s
CHUNK_BYTES = 1 << 20

_HEADER = struct.Struct("<4s22x2H")  # of a record: signature, lengths of name and extra field


class DamagedRecordError(Exception):
    """Says what is wrong with a checkpoint's records; the text is meant to follow "it"."""


@dataclass(frozen=True)
class _Record:
    name: str  # without the name of the archive, for example data.pkl or data/17
    start: int  # of the content in the file
    size: int
    crc: int


@contextmanager
def checked_records(path: Path) -> Iterator[Counter[int]]:
    """Checks the layout at once, and the checksums while the block runs.

    Gives the number of tensors' records of each size in bytes. At the end of the block, all
    checksums have been compared.

    Raises:
        DamagedRecordError: If the file is not a checkpoint that torch can read safely, or a
            checksum differs.
        OSError: If the file cannot be read.
    """
    with open_file(path) as file:
        records = _records(file.fileno(), zipfile.ZipFile(file))
        tensors = [record for record in records if record.name.startswith("data/")]
        others = [record for record in records if not record.name.startswith("data/")]
        contents = {record.name: _small_record(file.fileno(), record) for record in others}
        _check_contents(contents)
        pool = ThreadPoolExecutor(min(CHECKING_THREADS, len(os.sched_getaffinity(0))))
        try:
            checks = [pool.submit(_crc, file.fileno(), record) for record in tensors]
            yield Counter(record.size for record in tensors)
            for record, check in zip(tensors, checks, strict=True):
                _compare(record, check.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _records(fd: int, archive: zipfile.ZipFile) -> list[_Record]:
    records = []
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise DamagedRecordError("was compressed or encrypted, which torch.save does not do")
        # As torch finds the content: from the lengths in the header before it.
        header = os.pread(fd, _HEADER.size, member.header_offset)
        if len(header) < _HEADER.size or not header.startswith(b"PK\3\4"):
            raise DamagedRecordError("has a damaged directory")
        _, name_length, extra_length = _HEADER.unpack(header)
        start = member.header_offset + _HEADER.size + name_length + extra_length
        name = member.filename.partition("/")[2]
        records.append(_Record(name, start, member.file_size, member.CRC))
    if len({record.name.lower() for record in records}) < len(records):
        raise DamagedRecordError("has two records of the same name")
    # Otherwise a small file could take any memory and time, with one content for many records.
    if sum(record.size for record in records) > os.fstat(fd).st_size:
        raise DamagedRecordError("has records that overlap or are cut")
    return records


def _small_record(fd: int, record: _Record) -> bytes:
    if record.size > MAX_PICKLE_BYTES:
        raise DamagedRecordError(f"has a record {record.name[:80]!r} of {record.size} bytes")
    content = os.pread(fd, record.size, record.start)
    _compare(record, zlib.crc32(content))
    return content


def _check_contents(contents: dict[str, bytes]) -> None:
    if "data.pkl" not in contents:
        raise DamagedRecordError("has no record data.pkl")
    if contents.get("byteorder", b"little").decode("latin1") != sys.byteorder:
        raise DamagedRecordError("was written on a machine with another byte order")
    tuples = 0
    for opcodes, (opcode, argument, _) in enumerate(pickletools.genops(contents["data.pkl"])):
        tuples += "TUPLE" in opcode.name
        if opcodes >= MAX_OPCODES or tuples > MAX_TUPLES:
            raise DamagedRecordError("has far more in it than weights")
        if opcode.name in ("GLOBAL", "INST") and not NAMES.fullmatch(str(argument)):
            raise DamagedRecordError(f"uses {str(argument)[:80]!r}, which weights do not need")


def _crc(fd: int, record: _Record) -> int:
    """Read, not mapped: pages of a mapping count as memory of this process."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, record.size)))
    crc, position, end = 0, record.start, record.start + record.size
    while position < end:
        count = os.preadv(fd, [buffer[: end - position]], position)
        if count == 0:
            raise DamagedRecordError("is truncated")
        crc = zlib.crc32(buffer[:count], crc)
        position += count
    return crc


def _compare(record: _Record, crc: int) -> None:
    if crc != record.crc:
        raise DamagedRecordError(f"has a damaged record {record.name[:80]!r}")
