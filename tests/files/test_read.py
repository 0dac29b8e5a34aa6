"""Models, samples and names, read from files of every kind."""

import keras
import numpy as np
import pytest
from keras import layers

from attnscope.errors import InputError, UnsafeFileError, UnsupportedError
from attnscope.files import read_inputs, read_model, read_names
from attnscope.tables import Table

NAMES = ["width", "height", "depth", "mass", "age"]


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with the same samples in every kind of file."""
    monkeypatch.chdir(tmp_path)
    samples = rng.normal(size=(7, 5)).astype("float32")
    np.save("samples.npy", samples)
    np.savez("samples.npz", only=samples)
    lines = [",".join(f"{float(value)!r}" for value in row) for row in samples]
    (tmp_path / "samples.csv").write_text("\n".join([",".join(NAMES), *lines]) + "\n")
    return tmp_path


def test_a_model_that_keras_cannot_load_is_said_to_be_one(folder):
    (folder / "broken.keras").write_text("no model")
    with pytest.raises(UnsupportedError) as caught:
        read_model("broken.keras")
    assert str(caught.value) == (
        "broken.keras begins with b'no model'. Expected a .keras file (a zip) or an .h5 file (HDF5). Save the model "
        "again: model.save('model.keras')."
    )


def test_a_model_that_holds_code_is_not_run(folder):
    inputs = keras.Input((5,))
    keras.Model(inputs, layers.Lambda(lambda x: x + 1)(inputs)).save("code.keras")
    with pytest.raises(UnsafeFileError, match=r"^'lambda' is a Lambda and would run .* of Python bytecode"):
        read_model("code.keras")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_samples_are_the_same_from_every_kind_of_file(folder, suffix):
    read = read_inputs(f"samples.{suffix}")
    np.testing.assert_array_equal(read.values if isinstance(read, Table) else read, np.load("samples.npy"))
    assert not isinstance(read, Table) or read.names == NAMES


def test_several_arrays_come_as_a_dict(folder):
    np.savez("two.npz", ids=np.arange(6).reshape(2, 3), mask=np.ones((2, 3), bool))
    read = read_inputs("two.npz")
    assert {name: array.tolist() for name, array in read.items()} == {
        "ids": [[0, 1, 2], [3, 4, 5]],
        "mask": [[True] * 3] * 2,
    }


def test_a_text_file_gives_a_text_per_line(folder):
    (folder / "texts.txt").write_text("the first\n\nthe third\n", "utf-8")
    assert read_inputs("texts.txt").tolist() == ["the first", "", "the third"]


def test_pickled_objects_are_not_loaded(folder):
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(
        InputError, match=r"'objects.npy' cannot be read as NumPy arrays: Object arrays cannot be loaded"
    ):
        read_inputs("objects.npy")


def test_names_may_be_longer_than_a_path(folder):
    names = [f"column {number} with a long name" for number in range(200)]
    assert read_names(",".join(names)) == names


def test_names_are_stripped(folder):
    assert read_names("a, b ,c") == ["a", "b", "c"]
