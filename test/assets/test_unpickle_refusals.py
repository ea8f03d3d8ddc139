"""Malicious pickles are refused and not executed; costly and damaged pickles are errors."""

import contextlib
import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from pickles import Chumpy, Python2Pickle, write
from special_files import within

from pear_ros.assets.pickle_values import Values
from pear_ros.assets.unpickle import load_pickle
from pear_ros.errors import AssetError

# --- Malicious pickles ---------------------------------------------------------------------------


class Reduce:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def touch(path: Path) -> str:
    return f"touch {path}"


def python(path: Path) -> str:
    return f"open({str(path)!r}, 'w')"


def calling(module: str, name: str, *args: Any) -> bytes:
    """A pickle of protocol 2 that calls module.name(*args)."""
    arguments = pickle.dumps(args, protocol=2)[2:-1]
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + arguments + b"R."


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"

MALICIOUS: dict[str, Callable[[Path], bytes]] = {
    **{
        f"os.system, protocol {protocol}": lambda made, protocol=protocol: pickle.dumps(
            {"v_template": Reduce(os.system, touch(made))}, protocol=protocol
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "posix.system": lambda made: calling("posix", "system", touch(made)),
    "subprocess": lambda made: calling("subprocess", "check_output", ["touch", str(made)]),
    "builtins.eval": lambda made: calling("builtins", "eval", python(made)),
    "builtins.exec": lambda made: calling("builtins", "exec", python(made)),
    "builtins.open": lambda made: calling("builtins", "open", str(made), "w"),
    "Python 2's eval": lambda made: calling("__builtin__", "eval", python(made)),
    "Python 2's execfile": lambda made: calling("__builtin__", "execfile", str(made)),
    "dotted name": lambda made: calling("builtins", "object.__class__", "x", (), {}),
    "dotted name in numpy": lambda made: calling("numpy", "ndarray.tofile", str(made)),
    "name with a trailing space": lambda made: calling("builtins", "eval ", python(made)),
    "empty module": lambda made: calling("", "system", touch(made)),
    "getattr chain": lambda made: (
        b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\x00\x00\x00os\x85R"
        b"X\x06\x00\x00\x00system\x86R" + pickle.dumps((touch(made),), protocol=2)[2:-1] + b"R."
    ),
    "operator.attrgetter": lambda made: calling("operator", "attrgetter", "__class__"),
    "functools.partial": lambda made: calling("functools", "partial", print),
    "pickle in a pickle": lambda made: calling(
        "_pickle", "loads", pickle.dumps(Reduce(os.system, touch(made)))
    ),
    "numpy.load": lambda made: calling("numpy", "load", str(made), None, True),
    "numpy.save": lambda made: calling("numpy", "save", str(made), 1),
    "numpy.savetxt": lambda made: calling("numpy", "savetxt", str(made), [1]),
    "numpy.memmap": lambda made: calling("numpy", "memmap", str(made), "u1", "w+", 0, (9,)),
    "numpy.fromfile": lambda made: calling("numpy", "fromfile", str(made)),
    "numpy's runstring": lambda made: calling(
        "numpy.testing._private.utils", "runstring", python(made), {}
    ),
    "numpy.f2py": lambda made: calling("numpy.f2py", "compile", "end"),
    "numpy.vectorize": lambda made: calling("numpy", "vectorize", print),
    "numpy.core.multiarray, another name": lambda made: calling(
        "numpy.core.multiarray", "fromfile", str(made)
    ),
    "scipy.sparse, another name": lambda made: calling("scipy.sparse", "save_npz", str(made), 1),
    "copy_reg of a refused class": lambda made: (
        b"\x80\x02ccopy_reg\n_reconstructor\ncsubprocess\nPopen\nc__builtin__\nobject\nN\x87R."
    ),
    "object array with a call in it": lambda made: pickle.dumps(
        {"v_template": np.array([Reduce(os.system, touch(made))], dtype=object)}
    ),
    "array state with a call in it": lambda made: (
        b"\x80\x02" + ARRAY + calling("os", "system", touch(made))[2:-1] + b"b."
    ),
    "dict key with a call in it": lambda made: (
        b"\x80\x02}" + calling("os", "system", touch(made))[2:-1] + b"K\x01s."
    ),
    "name by STACK_GLOBAL": lambda made: (
        b"\x80\x04\x8c\x02os\x8c\x06system" + pickle.dumps((touch(made),), protocol=2)[2:-1] + b"R."
    ),
    "INST": lambda made: f"(S'{touch(made)}'\nios\nsystem\n.".encode(),
    "OBJ": lambda made: f"(cos\nsystem\nS'{touch(made)}'\no.".encode(),
    "OBJ of an allowed class": lambda made: b"(cnumpy\nndarray\no.",
    "INST of an allowed class": lambda made: b"(inumpy\nndarray\n.",
    "NEWOBJ_EX": lambda made: b"\x80\x04cchumpy.ch\nCh\n)}\x92.",
    "PERSID": lambda made: b"Pos.system\n.",
    "BINPERSID": lambda made: b"\x80\x02K\x01Q.",
    "EXT1": lambda made: b"\x80\x02\x82\x01.",
    "FROZENSET": lambda made: b"\x80\x04(K\x01\x91.",
    "NEXT_BUFFER": lambda made: b"\x80\x05\x97.",
    "call of a text": lambda made: b"\x80\x02X\x01\x00\x00\x00a)R.",
    "call of a call's result": lambda made: b"\x80\x02" + ARRAY + b")R.",
    "new instance of an instance": lambda made: b"\x80\x02" + ARRAY + b")\x81.",
    "call without a tuple": lambda made: b"\x80\x02cchumpy.ch\nCh\n]R.",
    "state of a class": lambda made: b"\x80\x02cchumpy.ch\nCh\n}X\x01\x00\x00\x00aK\x01sb.",
    "attributes of a class": lambda made: (
        b"\x80\x02cchumpy.ch\nCh\nN}X\x01\x00\x00\x00aK\x01s\x86b."
    ),
    "state of a dict": lambda made: b"\x80\x02}}b.",
    "items of a class": lambda made: b"\x80\x02cchumpy.ch\nCh\nX\x01\x00\x00\x00aK\x01s.",
    "items of a list": lambda made: b"\x80\x02]K\x00K\x01s.",
    "append to a class": lambda made: b"\x80\x02cchumpy.ch\nCh\nK\x01a.",
    "append to a dict": lambda made: b"\x80\x02}K\x01a.",
    "instance of no class": lambda made: (
        b"\x80\x02ccopy_reg\n_reconstructor\nX\x01\x00\x00\x00ac__builtin__\nobject\nN\x87R."
    ),
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_malicious_pickles_are_refused_and_not_executed(case: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = write(tmp_path / "generic_model.pkl", MALICIOUS[case](made))
    with pytest.raises(AssetError, match=r"generic_model\.pkl: refused, and no code of it was run"):
        load_pickle(path)
    assert not made.exists()


def test_the_payloads_work_with_the_standard_reader(tmp_path: Path) -> None:
    """Python's own reader executes them, and the file is made."""
    for case in ("os.system, protocol 2", "posix.system", "getattr chain", "INST"):
        made = tmp_path / "made"
        # Unpickled on purpose, to prove that the payload works: it makes a file in tmp_path.
        pickle.loads(MALICIOUS[case](made))
        assert made.exists(), case
        made.unlink()


def test_errors_name_the_file_and_the_global(tmp_path: Path) -> None:
    path = write(tmp_path / "generic_model.pkl", calling("os", "system", "true"))
    with pytest.raises(AssetError) as caught:
        load_pickle(path)
    assert str(path) in str(caught.value)
    assert "os.system" in str(caught.value)


def test_a_refused_pickle_does_not_change_the_reader(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.pkl", MALICIOUS["attributes of a class"](tmp_path))
    good = write(tmp_path / "good.pkl", pickle.dumps({"a": np.arange(3)}))
    before = load_pickle(good)
    with pytest.raises(AssetError):
        load_pickle(bad)
    np.testing.assert_array_equal(load_pickle(good)["a"], before["a"])


# --- Costly pickles ------------------------------------------------------------------------------


def array_of(shape: bytes, raw: bytes = b"U\x08" + b"\0" * 8, dtype: bytes = b"f8") -> bytes:
    """A dict with one array, whose shape and data are written as given."""
    return (
        b"\x80\x02}U\x01a" + ARRAY + b"(K\x01" + shape + b"cnumpy\ndtype\nU\x02" + dtype
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + raw + b"tbs."
    )  # fmt: skip


NESTED = 200_000
COSTLY: dict[str, bytes] = {
    "array of a huge shape": array_of(b"\x8a\x06\0\0\0\0\0\x01\x85"),
    "array of a negative shape": array_of(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"),
    "array of an empty huge shape": array_of(b"K\0\x8a\x09\0\0\0\0\0\0\0\0\x01\x86", b"U\0"),
    "array with too few data": array_of(b"K\x02\x85"),
    "array whose shape is no tuple of ints": array_of(b"U\x01a"),
    "array of ints as data": array_of(b"K\x01\x85", b"K\x08"),
    "array of many large sizes": array_of(
        b"\x8b" + struct.pack("<i", 200) + b"\1" * 200 + b"q\1(" + b"h\1" * 20_000 + b"t"
    ),
    "array of many small sizes": array_of(b"(" + b"K\1" * 200_000 + b"t"),
    "array of many empty sizes": array_of(b"(" + b"K\0" * 200_000 + b"t", b"U\0"),
    "array of a size with many digits": array_of(
        b"\x8b" + struct.pack("<i", 1 << 20) + b"\1" * (1 << 20) + b"\x85"
    ),
    "nested lists": b"\x80\x02}U\x01a" + b"]" * NESTED + b"a" * (NESTED - 1) + b"s.",
    "nested tuples": b"\x80\x02}U\x01a)" + b"\x85" * NESTED + b"s.",
    "nested tuples as a key": b"\x80\x02})" + b"\x85" * NESTED + b"K\x01s.",
    "nested tuples in a set": b"\x80\x04\x8f()" + b"\x85" * NESTED + b"\x90.",
    "list in itself": b"\x80\x02}U\x01a]q\x00h\x00as.",
    "lists of lists of lists": b"\x80\x02}U\x01a)" + b"q\0h\0\x86" * 300 + b"s.",
    "memo of four billion entries": b"\x80\x02}r\xff\xff\xff\xff",
    "missing bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40),
    "missing bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40),
    "missing frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62),
    "number of many digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "many opcodes": b"\x80\x02" + b"N0" * 600_000 + b"}.",
}


@pytest.mark.parametrize("case", sorted(COSTLY.keys() - {"nested tuples as a key"}))
def test_costly_pickles_are_errors(case: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.pkl", COSTLY[case])
    with within(5), pytest.raises(AssetError):
        load_pickle(path)


def test_keys_are_not_hashed(tmp_path: Path) -> None:
    """Hashing deeply nested tuples would overflow the stack."""
    path = write(tmp_path / "model.pkl", COSTLY["nested tuples as a key"])
    assert load_pickle(path) == {}


@pytest.mark.parametrize(
    ("indices", "indptr"),
    [([0, 9], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 2, 1]), ([0, 1], [0, 1, 99])],
    ids=["row too large", "row negative", "columns backwards", "columns too long"],
)
def test_sparse_matrix_that_points_outside_is_an_error(
    indices: list[int], indptr: list[int], tmp_path: Path
) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    matrix.indices, matrix.indptr = np.array(indices), np.array(indptr)
    with pytest.raises(AssetError):
        load_pickle(write(tmp_path / "model.pkl", pickle.dumps({"m": matrix}, protocol=2)))


def test_a_sparse_matrix_of_a_huge_number(tmp_path: Path) -> None:
    matrix = scipy.sparse.coo_matrix(np.eye(2))
    matrix._shape = (1 << 1600, 2)
    path = write(tmp_path / "model.pkl", pickle.dumps({"m": matrix}, protocol=2))
    with within(2), pytest.raises(AssetError, match="sparse matrix of an impossible shape"):
        load_pickle(path)


def test_short_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    path = write(tmp_path / "model.pkl", small_model())
    monkeypatch.setattr(Values, "value", fail)
    with pytest.raises(AssetError, match="not enough free memory"):
        load_pickle(path)


# --- Damaged pickles -----------------------------------------------------------------------------


def small_model() -> bytes:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    return Python2Pickle().dump({"a": np.arange(3), "c": Chumpy(np.ones(2)), "m": matrix})


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    content = small_model()
    for length in range(len(content)):
        with pytest.raises(AssetError):
            load_pickle(write(tmp_path / "model.pkl", content[:length]))


@pytest.mark.slow
def test_damage_raises_no_other_error(tmp_path: Path) -> None:
    generator = random.Random(0)
    for _ in range(3000):
        content = bytearray(small_model())
        for _ in range(generator.randint(1, 3)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        with contextlib.suppress(AssetError):
            load_pickle(write(tmp_path / "model.pkl", bytes(content)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated or not a body model"),
        (b"<!DOCTYPE html><html>Please sign in</html>", "not a body model"),
        (pickle.dumps([np.arange(3)]), "does not hold a dict"),
    ],
    ids=["empty", "web page", "list"],
)
def test_other_file_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=message):
        load_pickle(write(tmp_path / "model.pkl", content))


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pkl"):
        with pytest.raises(AssetError, match="cannot be read"):
            load_pickle(path)
