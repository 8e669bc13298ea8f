# SPDX-License-Identifier: Apache-2.0
import gc
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from carrysave.quant.data import DataError, load
from carrysave.quant.data.data import SOURCES


@pytest.fixture
def npz(tmp_path):
    """Call ``npz(x=..., y=...)`` for the path of a file with these arrays."""

    def make(**arrays):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        return path

    return make


def samples(count=40, shape=(3,), classes=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, *shape)), np.arange(count) % classes


def refused(source, **kwargs):
    """The one line that refuses a source."""
    with pytest.raises(DataError) as caught:
        load(source, **kwargs)
    text = str(caught.value)
    assert text and len(text.splitlines()) == 1
    return text.replace(str(source), "SOURCE")


def rows(data):
    """Every sample with its label, split or not, in one order."""
    pairs = [
        *zip(data.x_train.tolist(), data.y_train.tolist(), strict=True),
        *zip(data.x_test.tolist(), data.y_test.tolist(), strict=True),
    ]
    return sorted((x, data.labels[y]) for x, y in pairs)


def test_digits(compared):
    from sklearn.datasets import load_digits

    data, source = load("digits"), load_digits()
    assert (len(data.x_train), len(data.x_test)) == (1437, 360)
    assert (data.features, data.classes, data.shape) == (64, 10, (8, 8))
    assert data.labels == list("0123456789")
    pairs = zip(source.images, source.target, strict=True)
    expected = [(x.ravel().tolist(), str(y)) for x, y in pairs]
    assert rows(data) == sorted(expected)
    compared(len(expected))


def test_digits_stratified():
    data = load("digits")
    everywhere = np.bincount(np.concatenate([data.y_train, data.y_test]))
    assert (abs(np.bincount(data.y_test) - 0.2 * everywhere) < 1).all()


def test_split_is_deterministic():
    first, again, other = load("digits"), load("digits"), load("digits", seed=1)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(first, part), getattr(again, part))
        assert not np.array_equal(getattr(first, part), getattr(other, part))


@pytest.mark.parametrize("held", [[0, 4, 5], [39], [*range(1, 40, 2)]])
def test_split_of_the_source(monkeypatch, held, compared):
    """Kept, in the order of the source, whatever share and seed are asked for; classes by name."""
    x, y = samples(shape=(2, 3))
    names, held_out = ["walking", "sitting", "lying", "a"], np.isin(np.arange(40), held)
    monkeypatch.setitem(SOURCES, "mine", lambda: (x, y, names, held_out))
    data = load("mine", test_fraction=0.5, seed=7)
    assert data.labels == names and data.shape == (2, 3)
    for part, xs, ys in (held_out, data.x_test, data.y_test), (~held_out, data.x_train,
                                                               data.y_train):
        assert xs.tolist() == x[part].reshape(-1, 6).tolist() and ys.tolist() == y[part].tolist()
    compared(40)


@pytest.mark.parametrize("fraction, tests", [(0.1, 4), (0.25, 10), (0.5, 20)])
def test_test_fraction(npz, fraction, tests):
    x, y = samples()
    data = load(npz(x=x, y=y), test_fraction=fraction)
    assert (len(data.x_train), len(data.x_test)) == (40 - tests, tests)
    counts = np.bincount(data.y_test, minlength=4)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "u1", "i8", "?"])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5), (2, 3, 4)])
def test_npz(npz, dtype, shape, compared):
    x, y = samples(shape=shape)
    x = (8 * np.abs(x)).astype(dtype)
    data = load(npz(x=x, y=y))
    assert data.shape == shape and data.features == np.prod(shape) and data.classes == 4
    assert {a.dtype for a in (data.x_train, data.x_test)} == {np.dtype(np.float64)}
    assert {a.dtype for a in (data.y_train, data.y_test)} == {np.dtype(np.int64)}
    pairs = zip(x.reshape(40, -1).astype(float).tolist(), y.tolist(), strict=True)
    expected = [(row, str(label)) for row, label in pairs]
    assert rows(data) == sorted(expected)
    compared(len(expected))


def test_path_as_text(npz):
    x, y = samples()
    path = npz(x=x, y=y)
    assert np.array_equal(load(str(path)).x_test, load(path).x_test)


def test_more_arrays_do_not_matter(npz):
    x, y = samples()
    assert load(npz(x=x, y=y, names=np.array(["a", "b"]))).classes == 4


def test_names_as_labels(npz, compared):
    x, y = samples()
    names = np.array(["walking", "sitting", "lying", "é"])[y]
    data = load(npz(x=x, y=names))
    assert data.labels == ["lying", "sitting", "walking", "é"]
    assert rows(data) == sorted(zip(x.tolist(), names.tolist(), strict=True))
    compared(len(x))


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64])
def test_labels_with_gaps(npz, kind):
    x, y = samples()
    data = load(npz(x=x, y=np.array([3, 7, 100, 120], kind)[y]))
    assert data.labels == ["3", "7", "100", "120"]
    assert set(data.y_train.tolist()) == {0, 1, 2, 3}


def test_booleans_as_labels(npz):
    x, y = samples()
    assert load(npz(x=x, y=y > 1)).labels == ["False", "True"]


# What cannot be used.


def test_source_unknown():
    assert refused("digitz") == (
        "source must be one of digits, fashion, har or the path of an .npz file, not 'SOURCE'"
    )


def test_file_missing(tmp_path):
    assert refused(tmp_path / "none.npz") == "SOURCE is not there"


def test_directory(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    assert refused(tmp_path / "folder.npz").startswith("SOURCE is not an .npz file of plain arrays")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04", pickle.dumps({"x": 1})])
def test_not_an_npz(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    assert refused(path).startswith("SOURCE is not an .npz file of plain arrays: ")
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_truncated(npz):
    x, y = samples()
    path = npz(x=x, y=y)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        assert refused(path).startswith("SOURCE is not an .npz file of plain arrays: ")
    gc.collect()  # What is left open warns here, not in a later test.


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_flipped_bits_of_the_values(npz):
    x, y = samples()
    path = npz(x=x, y=y)
    content = path.read_bytes()
    for position in range(200, 1000, 53):
        damaged = bytearray(content)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        assert "Bad CRC-32" in refused(path)
    gc.collect()


@pytest.mark.parametrize("which", ["x", "y"])
def test_objects_need_pickle(npz, which):
    class Dangerous:
        def __reduce__(self):
            return pytest.fail, ("the pickle was executed",)

    x, y = samples()
    arrays = {"x": x, "y": y}
    arrays[which] = np.array([Dangerous()] * 40, object)
    assert refused(npz(**arrays)) == (
        "SOURCE is not an .npz file of plain arrays: "
        "Object arrays cannot be loaded when allow_pickle=False"
    )


@pytest.mark.parametrize(
    "names, found", [(["x"], "x"), (["y"], "y"), (["z", "w"], "z, w"), ([], "none")]
)
def test_array_missing(npz, names, found):
    text = refused(npz(**{name: np.zeros(3) for name in names}))
    assert text == f"SOURCE must hold arrays x and y; it has {found}"


@pytest.mark.parametrize(
    "x, y", [((40,), (40,)), ((40, 3), (40, 1)), ((40, 3), (39,)), ((), (40,)), ((40, 3), ())]
)
def test_shapes_wrong(npz, x, y):
    text = refused(npz(x=np.zeros(x), y=np.zeros(y, int)))
    assert text == f"SOURCE: x must be (samples, features…) and y (samples,), not {x} and {y}"


@pytest.mark.parametrize(
    "x, y",
    [("complex128", "int64"), ("<U1", "int64"), ("float64", "float64"), ("float64", "complex128")],
)
def test_kinds_wrong(npz, x, y):
    text = refused(npz(x=np.zeros((4, 2)).astype(x), y=np.zeros(4).astype(y)))
    assert text == f"SOURCE: x must hold numbers and y integers or names, not {x} and {y}"


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (4, 2, 0)])
def test_empty(npz, shape):
    text = refused(npz(x=np.zeros(shape), y=np.zeros(shape[0], int)))
    assert text == f"SOURCE: x must not be empty, but has shape {shape}"


def test_not_finite(npz):
    x, y = samples()
    x[3, 1], x[5, 0], x[39, 2] = np.nan, np.inf, -np.inf
    assert refused(npz(x=x, y=y)) == "SOURCE: x must be finite; 3 values are not"


def test_one_class(npz):
    x, y = samples(classes=1)
    assert refused(npz(x=x, y=y)) == "SOURCE: y must hold at least two classes, not 1"


def test_class_of_one_sample(npz):
    x, y = samples()
    y[7] = 99
    assert refused(npz(x=x, y=y)) == "SOURCE: each class needs at least two samples; 99 has one"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.01, 0.99])
def test_fraction_wrong(npz, fraction):
    x, y = samples()
    text = refused(npz(x=x, y=y), test_fraction=fraction)
    assert text.startswith("SOURCE: ") and ("test_size" in text or "train_size" in text)


def test_seed_wrong(npz):
    x, y = samples()
    assert "'random_state'" in refused(npz(x=x, y=y), seed=-1)


def test_damaged_archive_is_closed(npz):
    x, y = samples()
    path = npz(x=x, y=y)
    path.write_bytes(path.read_bytes()[:300])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused(path)
        gc.collect()
    assert not caught


def test_npy_by_the_name_of_npz(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros((4, 2)))
    (tmp_path / "mine.npy").rename(tmp_path / "mine.npz")
    text = refused(tmp_path / "mine.npz")
    assert text == "SOURCE is a single array, not an .npz file of arrays"


def test_members_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", b"1, 2, 3")
        archive.writestr("y.npy", b"1, 2, 3")
    assert refused(tmp_path / "mine.npz") == "SOURCE: x must be an array, not bytes"


def test_flipped_bits_of_compressed_values(tmp_path):
    x, y = samples(count=200, shape=(30,))
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x=np.round(x), y=y)
    content = path.read_bytes()
    for position in range(100, 1500, 7):
        damaged = bytearray(content)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        assert refused(path).startswith("SOURCE is not an .npz file of plain arrays: ")


@pytest.mark.parametrize("field, value", [(6, 255), (8, 1), (10, 99)])
def test_archive_that_zipfile_cannot_read(npz, field, value):
    """A newer version, encryption, an unknown compression: in the first entry of the directory."""
    x, y = samples()
    path = npz(x=x, y=y)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + field] = value
    path.write_bytes(content)
    assert refused(path).startswith("SOURCE is not an .npz file of plain arrays: ")


def test_byte_strings_as_labels(npz):
    x, y = samples()
    assert load(npz(x=x, y=np.array([b"cat", b"dog"])[y % 2])).labels == ["cat", "dog"]
