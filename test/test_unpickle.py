"""Published pickles are read without chumpy and Python 2, and malicious ones do nothing."""

import base64
import contextlib
import io
import os
import pickle
import random
import struct
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from pear_ros.errors import AssetError
from pear_ros.unpickle import Unread, load_pickle

# --- Pickles as chumpy writes them ---------------------------------------------------------------


@pytest.fixture
def chumpy() -> Iterator[types.SimpleNamespace]:
    """Classes named like chumpy's that pickle like them; `forget` them before reading."""

    class Ch:
        def __init__(self, **terms: Any) -> None:
            self.__dict__.update(terms)
            self._dirty_vars = {"x"}
            self._itr = None
            self._depends_on_deps: dict[str, Any] = {}
            self._make_dense = self._make_sparse = False

    modules = {
        name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")
    }
    classes = {"Ch": Ch}
    for name in ("Select", "Reshape", "transpose", "Concatenate"):
        classes[name] = type(name, (Ch,), {})
    for name, cls in classes.items():
        module = "chumpy.ch" if name == "Ch" else "chumpy.reordering"
        cls.__module__, cls.__qualname__ = module, name
        setattr(modules[module], name, cls)
    sys.modules.update(modules)

    def forget() -> None:
        for name in modules:
            sys.modules.pop(name, None)

    yield types.SimpleNamespace(**classes, forget=forget)
    forget()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_chumpy_arrays_come_as_numpy_arrays(
    protocol: int, chumpy: types.SimpleNamespace, tmp_path: Path
) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    ids = np.array([5, 0, 23, 7])
    content = {
        "ch": chumpy.Ch(x=x),
        "nested": chumpy.Ch(x=chumpy.Ch(x=x)),
        "select": chumpy.Select(a=chumpy.Ch(x=x), idxs=ids, preferred_shape=(2, 2)),
        "flat select": chumpy.Select(a=chumpy.Ch(x=x), idxs=ids),
        "reshape": chumpy.Reshape(a=chumpy.Ch(x=x), newshape=(4, 6)),
        "transpose": chumpy.transpose(a=chumpy.Ch(x=x), axes=(2, 0, 1)),
        "reversed": chumpy.transpose(a=chumpy.Ch(x=x), axes=None),
    }
    path = write(tmp_path / "model.pkl", pickle.dumps(content, protocol=protocol))
    chumpy.forget()
    loaded = load_pickle(path)
    expected = {
        "ch": x,
        "nested": x,
        "select": np.array([[5.0, 0.0], [23.0, 7.0]]),
        "flat select": np.array([5.0, 0.0, 23.0, 7.0]),
        "reshape": x.reshape(4, 6),
        "transpose": x.transpose(2, 0, 1),
        "reversed": x.T,
    }
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    assert "chumpy" not in sys.modules


def test_chumpy_class_that_is_not_read_is_refused_by_name(
    chumpy: types.SimpleNamespace, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.pkl", pickle.dumps({"v": chumpy.Concatenate(m0=1)}))
    with pytest.raises(AssetError, match=r"chumpy\.reordering\.Concatenate"):
        load_pickle(path)


# --- Pickles as Python 2 wrote them --------------------------------------------------------------


class Python2Pickle:
    """Writes protocol 2 as Python 2.7's cPickle did: names of its modules, text as bytes."""

    def __init__(self) -> None:
        self.out = io.BytesIO()

    def dump(self, value: Any) -> bytes:
        self.out.write(b"\x80\x02")
        self.write(value)
        self.out.write(b".")
        return self.out.getvalue()

    def text(self, value: bytes) -> None:
        short = len(value) < 256
        self.out.write(
            b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        )
        self.out.write(value)

    def instance(self, module: str, name: str, state: dict[str, Any]) -> None:
        self.out.write(f"c{module}\n{name}\n".encode() + b")\x81")
        self.write(state)
        self.out.write(b"b")

    def write(self, value: Any) -> None:
        if isinstance(value, str):
            self.text(value.encode("latin1"))
        elif value is None:
            self.out.write(b"N")
        elif isinstance(value, bool):
            self.out.write(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self.out.write(b"J" + struct.pack("<i", value))
        elif isinstance(value, tuple):
            self.out.write(b"(")
            for item in value:
                self.write(item)
            self.out.write(b"t")
        elif isinstance(value, dict):
            self.out.write(b"}(")
            for key, item in value.items():
                self.write(key)
                self.write(item)
            self.out.write(b"u")
        elif isinstance(value, set):
            self.out.write(b"c__builtin__\nset\n](")
            for item in value:
                self.write(item)
            self.out.write(b"e\x85R")
        elif isinstance(value, Chumpy):
            state = {"x": value.array, "_dirty_vars": {"x"}, "_itr": None, "_make_dense": False}
            self.instance("chumpy.ch", "Ch", state)
        elif scipy.sparse.issparse(value):
            parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr}
            state = {"_shape": value.shape, "maxprint": 50, **parts}
            self.instance("scipy.sparse.csc", "csc_matrix", state)
        else:
            self.array(np.asarray(value))

    def array(self, array: np.ndarray) -> None:
        self.out.write(
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        )
        self.out.write(b"(K\x01")
        self.write(array.shape)
        self.out.write(b"cnumpy\ndtype\n")
        self.text(array.dtype.str[1:].encode())
        self.out.write(b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        self.write(fortran)
        self.text(array.tobytes("F" if fortran else "C"))
        self.out.write(b"tb")


class Chumpy:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def test_python_2_pickle_of_a_flame_model(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    regressor = scipy.sparse.random(5, 40, density=0.3, format="csc", random_state=0)
    kintree = np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], dtype=np.uint32)
    arrays = {
        "v_template": generator.random((40, 3)),
        "shapedirs": np.asfortranarray(generator.random((40, 3, 7))),
        "f": generator.integers(0, 40, (60, 3)).astype(np.uint32),
        "weights": generator.random((40, 5)),
        "kintree_table": kintree,
    }
    model = {
        **arrays,
        "v_template": Chumpy(arrays["v_template"]),
        "shapedirs": Chumpy(arrays["shapedirs"]),
        "J_regressor": regressor,
        "bs_type": "lrotmin",
        "text": "caf\xe9",
    }
    content = Python2Pickle().dump(model)
    loaded = load_pickle(write(tmp_path / "generic_model.pkl", content))
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    assert scipy.sparse.issparse(loaded["J_regressor"])
    np.testing.assert_array_equal(loaded["J_regressor"].toarray(), regressor.toarray())
    assert loaded["bs_type"] == "lrotmin"
    assert loaded["text"] == "caf\xe9"


# {"v_template": v, "select": v[1:], "transposed": v.T, "J_regressor": csc_matrix, "f": uint32,
# "bs_type": "lrotmin", "scale": numpy.float64, "_u": u"\xe9"}, v = ch.array(2 x 3), written by
# cPickle of Python 2.7.18 with chumpy 0.69, numpy 1.16.6 and scipy 1.2.3 and packed with zlib.
WRITTEN_BY_PYTHON_2 = {
    0: (
        "eNqdVU2P2jAQvc8fCZei+CsbpEq7Uk/0wKFIPVWKTGJCWkgs29nCT+6/6IwTKLtbwmoPQXH87Dczb94wqyyDdR"
        "Kcbr3tvKkSsBzKsrOnwpka8KfsWh9cX4bOgRUwK8tdf7CnuTOdq4xr2houx8FKKIti0zf70LRFAd3mpykDWAWr"
        "8M1mMKvsA/LpBOqrq8odfNmBzaEecAvCsRSBxUH/MoW32nmDoTEGyzQFjxtV48KpeMYN+s5f0nqDnAwZZnu8js"
        "l4ogmOoEgRzxtr2soXXUuv8ZIYHnuI4MhbmXagzc+0xwTKdoi5c2Z+6JFQO6dPLyqFJzCFAQhtNQAsT2G2TCGs"
        "k00CGBZnuKaHw1JAGOFVOFmsI+cwWyfbPEFmQBThMR8ErpPPCaxWq+UnLAY9eOWGwlsnP45p+rFnmz5OAZ4mNv"
        "OJTTZ1ksknrMOGqu2DDj1pwCWm0Zrf9KrAb/ybFuDZoEWNmteDxJaPPaWpSjntkcj1IChfvBVUpMMldL8v9T5+"
        "Y7ekJYSm5kdNai4mC23SxyiuEMS6xT6nVqhfay/kqD2L2teD3L28kluoD8jNptZjtb+Ss53xviM/iGywoi8bTH"
        "0o8xxXgA8WLbjmiKCHszVFTjUVC6Rv2qopDakm0xtpyn8tfs6xuc5R8nfkyKY6c8yp0kFTIOJWIPI6EAH3/HLP"
        "DyPtQR8tTsBA1AqWahhNfqctdZTMLua2Mo4VLJmNU0jmtwJdjIFKDBTL826l+dQ6hhvN1CM5hvn9D4XzXARzsH"
        "sdKFrFoI5W8WaPM5u+8BdT+mrgryMEEeLcF0pSXyg1Dvcrz12cq/7jXEXObaojdZHKQQ82XifWma1xzlSXYqpF"
        "tHeWvrJ3xt7aO+Mjk1pcLGYzQR9u1T07N8g/NzbXwzd7jxvFnUEr7+yru51OGm58Qf8RlGeGvHvXhUPT0hJ7bP"
        "4XaSQ4iA=="
    ),
    2: (
        "eNp1U9tu00AUjJM0CZuWptBCud/B5RJKKbRcW4m3WspD0Uq8VKuNve1aJI7P7rokD5HgIUX5FL6DH+ET+AM4jr"
        "dUroilzdo5Z0czc2a/FofguJQYxSMd97QIoOj7MunGg6YSPRUIFUYHJ2UCpZVvUB7CjEsdftzpS/JBEqhgqTqE"
        "mktnWZd/FkzHXGkBZ8a0zoJQmQE7xD+A+Iy1k7BjwogxooUhUN8b7cIsLbPQKJhr0QYLRCyiQLNelL5qODuEeY"
        "SZ4AYiQtjGmDp9P8oY9JRodhOE5ErxAWFK+L1IG5X4iL6QdZEoyKpwziuMqNP+vgvnXc/xil7pyLYEZhCjykVa"
        "3N/0Cp6DLUuuV6LO21artfMHn8mPVzDtMV0t5J7fW/ZlO9tqdm/YfXHbtGmVacNNouECLUXiC1xM2qfsWh5LIu"
        "t7cAkd5mjLZTnXkij/Sl7+1TGenNE+7wi4NsWGtMoVgetyidYyEr+2jnbhBnX25YI8seFmaoODNkhUnqxb5bem"
        "Kp9NoRy7UFV9Bx0/UELrnoLbvvZDZJPpaeIXwYXcjQr7BO5gTO4O4Z5Lq2EUhL7QcD9H5sFkJqOUSnhMxZ1Kpe"
        "ZY15FGOeCGw0oO7aFFWxrTxuk54ZFal/djDLmBR94arTAteSzg8SQTtIIEY0zkkxxiM0Usj6RrEVMCRbtMG6dS"
        "ZAk8/ZR+/vxBySEzoht3uBGwKqu0okVH+Aae/eeefZyUCKyhRc+HsJ5eMjySz8cLm4+XLi2HQV/DBnbR+ViJfa"
        "GUCKyETYHZeWWz8zqfnTdjuTkZN7yVGzlt71Jtpcz74wvwfqr3yyXrZNnuM/9mgTZU25ql1wm2aLWjeqYbRrCd"
        "NP8CyZJhoA=="
    ),
}


@pytest.mark.parametrize("protocol", WRITTEN_BY_PYTHON_2)
def test_pickle_that_python_2_and_chumpy_wrote(protocol: int, tmp_path: Path) -> None:
    content = zlib.decompress(base64.b64decode(WRITTEN_BY_PYTHON_2[protocol]))
    loaded = load_pickle(write(tmp_path / "generic_model.pkl", content))
    v = np.arange(6.0).reshape(2, 3)
    expected = {"v_template": v, "select": v[1:], "transposed": v.T, "f": [[0, 1, 1]]}
    for name, array in expected.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    assert loaded["f"].dtype == np.uint32
    np.testing.assert_array_equal(loaded["J_regressor"].toarray(), [[0, 2, 0], [1, 0, 0]])
    assert (loaded["bs_type"], loaded["scale"], loaded["_u"]) == ("lrotmin", 0.5, "\xe9")


def test_python_2_pickle_of_protocol_0(tmp_path: Path) -> None:
    """FLAME_masks.pkl has this form; the classes are made by copy_reg, text is escaped."""
    ids = np.array([3, 200, 65535, -1])
    raw = "".join(f"\\x{byte:02x}" for byte in ids.tobytes())
    array = (
        "cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\ntp5\nRp6\n"
        "(I1\n(I4\ntp7\ncnumpy\ndtype\np8\n(S'i8'\np9\nI0\nI1\ntp10\nRp11\n"
        f"(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS'{raw}'\np14\ntp15\nb"
    )
    instance = (
        "ccopy_reg\n_reconstructor\np16\n(cchumpy.ch\nCh\np17\nc__builtin__\nobject\np18\n"
        "Ntp19\nRp20\n(dp21\nS'x'\np22\ng6\nsb"
    )
    content = f"(dp0\nS'neck'\np30\n{array}sS'copy'\np31\n{instance}s."
    loaded = load_pickle(write(tmp_path / "FLAME_masks.pkl", content.encode("ascii")))
    np.testing.assert_array_equal(loaded["neck"], ids)
    np.testing.assert_array_equal(loaded["copy"], ids)


# --- Pickles as numpy and scipy write them -------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(6).reshape(2, 3).astype(kind) for kind in "?bBhHiIlLefd"),
        np.arange(6.0).reshape(2, 3).astype(">f8"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4)[:, ::2],
        np.zeros((0, 3)),
        np.array(2.5),
        np.float32(2.5),
        np.int64(-3),
    ],
    ids=lambda array: f"{np.asarray(array).dtype.str}{np.shape(array)}",
)
def test_numpy_values_come_back(array: Any, protocol: int, tmp_path: Path) -> None:
    path = write(tmp_path / "model.pkl", pickle.dumps({"a": array}, protocol=protocol))
    loaded = load_pickle(path)["a"]
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_sparse_matrices_come_back(form: str, protocol: int, tmp_path: Path) -> None:
    matrix = getattr(scipy.sparse, f"{form}_matrix")(np.diag([1.0, 0.0, 3.0])[:2])
    path = write(tmp_path / "model.pkl", pickle.dumps({"m": matrix}, protocol=protocol))
    np.testing.assert_array_equal(load_pickle(path)["m"].toarray(), matrix.toarray())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(protocol: int, tmp_path: Path) -> None:
    content = {"n": None, "t": (1, -2.5, True), "l": ["a", {"b": b"\xff"}], "e": b"", "i": 2**70}
    path = write(tmp_path / "model.pkl", pickle.dumps({**content, "s": {7}}, protocol=protocol))
    assert load_pickle(path) == {**content, "s": [7]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_that_are_no_numbers_are_left_unread(protocol: int, tmp_path: Path) -> None:
    arrays = {"o": np.array([None, "x"]), "s": np.array(["ab", "c"]), "c": np.array([1j])}
    loaded = load_pickle(write(tmp_path / "m.pkl", pickle.dumps(arrays, protocol=protocol)))
    assert {key: type(value) for key, value in loaded.items()} == dict.fromkeys("osc", Unread)


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
    """A pickle that calls module.name(*args), of protocol 2."""
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
def test_malicious_pickle_is_refused_and_does_nothing(case: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = write(tmp_path / "generic_model.pkl", MALICIOUS[case](made))
    with pytest.raises(AssetError, match=r"generic_model\.pkl: refused, and nothing of it was run"):
        load_pickle(path)
    assert not made.exists()


def test_the_payloads_above_would_act(tmp_path: Path) -> None:
    """Without the reader of this package the same bytes do make the file."""
    for case in ("os.system, protocol 2", "posix.system", "getattr chain", "INST"):
        made = tmp_path / "made"
        pickle.loads(MALICIOUS[case](made))
        assert made.exists(), case
        made.unlink()


def test_refusal_names_file_and_global(tmp_path: Path) -> None:
    path = write(tmp_path / "generic_model.pkl", calling("os", "system", "true"))
    with pytest.raises(AssetError) as caught:
        load_pickle(path)
    assert str(path) in str(caught.value)
    assert "os.system" in str(caught.value)


def test_refused_pickle_leaves_the_reader_as_it_was(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.pkl", MALICIOUS["attributes of a class"](tmp_path))
    good = write(tmp_path / "good.pkl", pickle.dumps({"a": np.arange(3)}))
    before = load_pickle(good)
    with pytest.raises(AssetError):
        load_pickle(bad)
    np.testing.assert_array_equal(load_pickle(good)["a"], before["a"])


# --- Pickles that would cost much ----------------------------------------------------------------


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
    "nested lists": b"\x80\x02}U\x01a" + b"]" * NESTED + b"a" * (NESTED - 1) + b"s.",
    "nested tuples": b"\x80\x02}U\x01a)" + b"\x85" * NESTED + b"s.",
    "nested tuples as a key": b"\x80\x02})" + b"\x85" * NESTED + b"K\x01s.",
    "nested tuples in a set": b"\x80\x04\x8f()" + b"\x85" * NESTED + b"\x90.",
    "list in itself": b"\x80\x02}U\x01a]q\x00h\x00as.",
    "lists of lists of lists": b"\x80\x02}U\x01a)" + b"q\0h\0\x86" * 300 + b"s.",
    "memo of four billion entries": b"\x80\x02}r\xff\xff\xff\xff",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40),
    "bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40),
    "frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62),
    "number of many digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "many opcodes": b"\x80\x02" + b"N0" * 600_000 + b"}.",
}


@pytest.mark.parametrize("case", sorted(COSTLY.keys() - {"nested tuples as a key"}))
def test_costly_pickle_is_an_error(case: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError):
        load_pickle(write(tmp_path / "model.pkl", COSTLY[case]))


def test_keys_are_never_hashed(tmp_path: Path) -> None:
    """Hashing deeply nested tuples overflows the interpreter's stack."""
    path = write(tmp_path / "model.pkl", COSTLY["nested tuples as a key"])
    assert load_pickle(path) == {}


def test_memory_that_sharing_multiplies_is_limited(
    chumpy: types.SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pear_ros.unpickle.MAX_BUILT_BYTES", 1 << 20)
    x, ids = np.zeros(8), np.zeros(10_000, dtype=np.int8)
    selects = [chumpy.Select(a=chumpy.Ch(x=x), idxs=ids) for _ in range(100)]
    path = write(tmp_path / "model.pkl", pickle.dumps({"s": selects}))
    chumpy.forget()
    with pytest.raises(AssetError, match="memory"):
        load_pickle(path)


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


# --- Damaged pickles -----------------------------------------------------------------------------


def small_model() -> bytes:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    return Python2Pickle().dump({"a": np.arange(3), "c": Chumpy(np.ones(2)), "m": matrix})


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    content = small_model()
    for length in range(len(content)):
        with pytest.raises(AssetError):
            load_pickle(write(tmp_path / "model.pkl", content[:length]))


def test_no_damage_raises_anything_else(tmp_path: Path) -> None:
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
        (pickle.dumps([np.arange(3)]), "holds no dict"),
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
