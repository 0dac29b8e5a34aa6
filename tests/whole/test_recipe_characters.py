"""The answer "How to visualize attention weights?", from training to coloured characters in another process.

The question's model, its `K.sum` as `ops.sum`, is trained on real first names, padded in front, and saved as
``.h5`` and as weights. A fresh process loads the file, without running the Python code in it, finds the attention,
which has no telling name, and colours the characters.
"""

import json
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.demo import first_names
from attnscope.errors import UnsafeFileError
from attnscope.layers import AttentionPooling
from attnscope.loading.replacements import sum_over

LENGTH, UNITS, LETTERS = 16, 23, " abcdefghijklmnopqrstuvwxyz<&>"


def padded(text):
    """As Keras' own function for it does it: in front."""
    return [*[""] * (LENGTH - len(text)), *text]


def encoded(texts):
    return np.array([[LETTERS.index(letter or " ") for letter in padded(text)] for text in texts], "int32")


def question_model():
    """As in the question, but for the sizes and `K`."""
    visible = keras.Input(shape=(LENGTH,))
    embed = layers.Embedding(len(LETTERS), 11)(visible)
    activations = layers.GRU(UNITS, return_sequences=True)(embed)
    attention = layers.TimeDistributed(layers.Dense(1, activation="tanh"))(activations)
    attention = layers.Flatten()(attention)
    attention = layers.Activation("softmax", name="activation")(attention)
    attention = layers.RepeatVector(UNITS)(attention)
    attention = layers.Permute([2, 1])(attention)
    sent_representation = layers.multiply([activations, attention])
    sent_representation = layers.Lambda(lambda xin: ops.sum(xin, axis=1), name="lambda", output_shape=(UNITS,))(
        sent_representation
    )
    predictions = layers.Dense(1, activation="sigmoid")(sent_representation)
    return keras.Model(inputs=visible, outputs=predictions)


def names_and_genders(most=2000):
    pairs = first_names(most, seed=0)
    return [name for name, _ in pairs], np.array([gender == "female" for _, gender in pairs], "float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The trained model, its accuracy on names it has not seen, and its files' folder."""
    keras.utils.set_random_seed(7)
    texts, female = names_and_genders()
    x = encoded(texts)
    model = question_model()
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x[:1600], female[:1600], epochs=4, batch_size=64, verbose=0)
    folder = tmp_path_factory.mktemp("trained")
    model.save(folder / "saved_model.h5")
    model.save_weights(folder / "best.weights.h5")
    shutil.copy(folder / "best.weights.h5", folder / "weights.best.hdf5")
    return model, model.evaluate(x[1600:], female[1600:], verbose=0)[1], folder


FRESH = """
import json
import numpy as np
import attnscope as ats
from attnscope.loading.replacements import sum_over

given = json.load(open("given.json"))
model = ats.load_model("saved_model.h5", replacements={"lambda": sum_over(axis=1)})
maps = ats.capture(model, np.array(given["x"], "int32"), labels=given["characters"])
(site,) = maps
text = ats.plot.tokens(maps[site], titles=given["texts"])
text.save("characters.html")
json.dump({"site": site, "dims": maps[site].dims, "scores": maps[site].values.tolist(),
           "outputs": np.asarray(maps.outputs).tolist()}, open("found.json", "w"))
"""


def test_a_fresh_process_loads_the_file_finds_the_attention_and_colours_the_characters(trained):
    model, accuracy, folder = trained
    assert accuracy > 0.75
    texts = ["margarethe", "bo", "<b>&</b>".replace("/", "")]
    x = encoded(texts)
    characters = [padded(text) for text in texts]
    (folder / "given.json").write_text(json.dumps({"x": x.tolist(), "characters": characters, "texts": texts}))
    subprocess.run([sys.executable, "-c", FRESH], cwd=folder, check=True, timeout=300)
    found = json.loads((folder / "found.json").read_text())
    assert found["site"] == "activation"
    assert found["dims"] == ["sample", "key"]
    of_layer = keras.Model(model.input, model.get_layer("activation").output)
    np.testing.assert_allclose(found["scores"], of_layer.predict(x, verbose=0), atol=1e-6)
    np.testing.assert_allclose(found["outputs"], model.predict(x, verbose=0), atol=1e-5)
    page = (folder / "characters.html").read_text("utf-8")
    tokens = re.findall(r'title="position (\d+), ⁨(.*?)⁩: ([^"]*)"><bdi>(.*?)</bdi>', page)
    assert len(tokens) == len(texts) * LENGTH
    for (place, _, weight, shown), (row, column) in zip(tokens, np.ndindex(len(texts), LENGTH), strict=True):
        letter = characters[row][column]
        escaped = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "": "∅"}.get(letter, letter)
        assert (int(place), shown) == (column, escaped)
        assert float(weight) == pytest.approx(found["scores"][row][column], rel=1e-5)
    assert "<b>&" not in page


def test_the_code_in_the_file_is_refused_by_name(trained):
    _, _, folder = trained
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(folder / "saved_model.h5")
    assert "'lambda'" in str(caught.value)
    assert "replacements=" in str(caught.value)
    assert "trust=True" in str(caught.value)


def test_weights_alone_go_into_a_model_that_is_built_anew(trained):
    model, _, folder = trained
    x = encoded(["margarethe", "bo"])
    rebuilt = question_model()
    assert ats.load_model(folder / "weights.best.hdf5", rebuilt) is rebuilt
    np.testing.assert_allclose(rebuilt.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_the_recipes_own_colours_show_as_many_characters_as_there_are_samples(trained):
    """Its slice takes the length of the batch for the length of the text; ours has every position."""
    model, _, _ = trained
    encoded_input_text = encoded(["margarethe"])
    attention_outputs = keras.Model(model.input, model.get_layer("activation").output).predict(
        encoded_input_text, verbose=0
    )
    assert len(attention_outputs[0][-len(encoded_input_text) :]) == 1
    assert ats.capture(model, encoded_input_text)["activation"].sizes["key"] == LENGTH


def test_the_recipe_spends_attention_on_padding_and_the_layer_does_not(trained):
    model, _, _ = trained
    texts, female = names_and_genders(most=400)
    x = encoded(texts)
    padding = x == 0
    recipe = ats.capture(model, x)["activation"].values
    assert (recipe * padding).sum(axis=1).mean() > 0.1
    masked = keras.Sequential(
        [
            keras.Input((LENGTH,)),
            layers.Embedding(len(LETTERS), 11, mask_zero=True),
            layers.GRU(UNITS, return_sequences=True),
            AttentionPooling(UNITS, name="attention"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    masked.compile("adam", "binary_crossentropy")
    masked.fit(x, female, verbose=0)
    scores = ats.capture(masked, x)["attention"]
    np.testing.assert_array_equal(scores.key_valid, ~padding)
    np.testing.assert_array_equal(scores.values[padding], 0)
    np.testing.assert_allclose(scores.sum("key"), 1, atol=1e-5)


def test_the_replacement_can_be_saved_again_and_loads_without_help(trained, tmp_path):
    model, _, folder = trained
    x = encoded(["margarethe"])
    loaded = ats.load_model(folder / "saved_model.h5", replacements={"lambda": sum_over(axis=1)})
    loaded.save(tmp_path / "model.keras")
    again = ats.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
