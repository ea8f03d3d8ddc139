"""Pickles of chumpy and of Python 2 are read without either."""

import base64
import pickle
import sys
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from pickles import Chumpy, Python2Pickle, write

from pear_ros.assets.pickle_values import Unread
from pear_ros.assets.unpickle import load_pickle, load_value
from pear_ros.errors import AssetError

# --- Pickles as chumpy writes them ---------------------------------------------------------------


@pytest.fixture
def chumpy() -> Iterator[types.SimpleNamespace]:
    """Classes that pickle like those of chumpy; call `forget` before reading."""

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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
def test_chumpy_arrays_become_numpy_arrays(
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


def test_errors_name_unsupported_chumpy_classes(
    chumpy: types.SimpleNamespace, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.pkl", pickle.dumps({"v": chumpy.Concatenate(m0=1)}))
    with pytest.raises(AssetError, match=r"chumpy\.reordering\.Concatenate"):
        load_pickle(path)


def test_the_memory_of_arrays_built_from_a_shared_one_is_limited(
    chumpy: types.SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pear_ros.assets.pickle_values.MAX_BUILT_BYTES", 1 << 20)
    x, ids = np.zeros(8), np.zeros(10_000, dtype=np.int8)
    selects = [chumpy.Select(a=chumpy.Ch(x=x), idxs=ids) for _ in range(100)]
    path = write(tmp_path / "model.pkl", pickle.dumps({"s": selects}))
    chumpy.forget()
    with pytest.raises(AssetError, match="memory"):
        load_pickle(path)


# --- Pickles as Python 2 wrote them --------------------------------------------------------------


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


@pytest.mark.parametrize("protocol", WRITTEN_BY_PYTHON_2, ids="protocol {}".format)
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
    """The form of FLAME_masks.pkl: copy_reg makes the classes, text is escaped."""
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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
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
def test_numpy_values(array: Any, protocol: int, tmp_path: Path) -> None:
    path = write(tmp_path / "model.pkl", pickle.dumps({"a": array}, protocol=protocol))
    loaded = load_pickle(path)["a"]
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_sparse_matrices(form: str, protocol: int, tmp_path: Path) -> None:
    matrix = getattr(scipy.sparse, f"{form}_matrix")(np.diag([1.0, 0.0, 3.0])[:2])
    path = write(tmp_path / "model.pkl", pickle.dumps({"m": matrix}, protocol=protocol))
    np.testing.assert_array_equal(load_pickle(path)["m"].toarray(), matrix.toarray())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
def test_plain_data(protocol: int, tmp_path: Path) -> None:
    content = {"n": None, "t": (1, -2.5, True), "l": ["a", {"b": b"\xff"}], "e": b"", "i": 2**70}
    path = write(tmp_path / "model.pkl", pickle.dumps({**content, "s": {7}}, protocol=protocol))
    assert load_pickle(path) == {**content, "s": [7]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
def test_text_of_numpy_is_text(protocol: int, tmp_path: Path) -> None:
    content = [np.bytes_(b"m"), np.str_("caf\xe9")]
    path = write(tmp_path / "sequence.pkl", pickle.dumps({"genders": content}, protocol=protocol))
    loaded = load_pickle(path)["genders"]
    assert loaded == ["m", "caf\xe9"]
    assert {type(value) for value in loaded} == {str}


def test_text_of_numpy_that_python_2_wrote(tmp_path: Path) -> None:
    content = Python2Pickle().dump({"genders": [np.bytes_(b"m"), np.bytes_(b"fem")]})
    assert load_pickle(write(tmp_path / "s.pkl", content)) == {"genders": ["m", "fem"]}


def test_text_of_numpy_has_the_stated_length(tmp_path: Path) -> None:
    content = Python2Pickle().dump({"genders": [np.bytes_(b"female")]})
    shorter = content.replace(b"U\x06female", b"U\x04fema")
    with pytest.raises(AssetError, match="do not fit its shape"):
        load_pickle(write(tmp_path / "s.pkl", shorter))


def test_a_value_that_is_no_dict(tmp_path: Path) -> None:
    path = write(tmp_path / "regressor.pkl", Python2Pickle().dump(np.eye(3)))
    np.testing.assert_array_equal(load_value(path), np.eye(3))
    with pytest.raises(AssetError, match="so it is not a regressor"):
        load_pickle(path, "regressor")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "regressor.pkl", Python2Pickle().dump(np.eye(3)))
    size = path.stat().st_size
    assert load_value(path, max_bytes=size).shape == (3, 3)
    with pytest.raises(AssetError, match="is larger than any regressor"):
        load_value(path, "regressor", size - 1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1), ids="protocol {}".format)
def test_arrays_without_numbers_are_not_read(protocol: int, tmp_path: Path) -> None:
    arrays = {"o": np.array([None, "x"]), "s": np.array(["ab", "c"]), "c": np.array([1j])}
    loaded = load_pickle(write(tmp_path / "m.pkl", pickle.dumps(arrays, protocol=protocol)))
    assert {key: type(value) for key, value in loaded.items()} == dict.fromkeys("osc", Unread)
