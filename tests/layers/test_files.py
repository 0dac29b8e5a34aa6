"""Files are read in a process that has made nothing yet, with one import and no `custom_objects`."""

import os
import subprocess
import sys

import keras
import numpy as np

from layers_by_hand import LAYERS, sequences

LOADING = """
import sys
import numpy as np
import keras
import attnscope.layers

folder = sys.argv[1]
x = np.load(f"{folder}/x.npy")
model = keras.saving.load_model(f"{folder}/model.keras")
np.save(f"{folder}/whole.npy", model.predict(x, verbose=0))
model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
model.load_weights(f"{folder}/model.weights.h5")
np.save(f"{folder}/weights.npy", model.predict(x, verbose=0))
for layer in model.layers:
    if layer.name.startswith("layer_"):
        np.save(f"{folder}/{layer.name}.npy", layer.attention_scores)
"""


def test_a_fresh_process_loads_models_and_weights(rng, tmp_path):
    x = sequences(rng)
    inputs = keras.Input(x.shape[1:])
    layers = [make(name=f"layer_{number}") for number, make in enumerate(LAYERS.values())]
    attended = [layer(inputs) for layer in layers]
    pooled = [keras.layers.GlobalMaxPooling1D()(one) if len(one.shape) == 3 else one for one in attended]
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()(pooled)))
    expected = model.predict(x, verbose=0)
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", LOADING, str(tmp_path)], env=environment, check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), expected)
    for layer in layers:
        np.testing.assert_array_equal(np.load(tmp_path / f"{layer.name}.npy"), layer.attention_scores)
