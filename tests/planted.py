"""Models of which it is known whether their attention explains them: a softmax over the steps pools values."""

import keras
import numpy as np
from keras import layers

STEPS, WIDTH = 8, 9
TRUTH = {"everything": "explains", "position": "descriptive only", "nothing": "misleading here"}
"""The right verdict on the weights, by kind of model."""


def planted(kind, seed):
    """A model of one of the kinds in `TRUTH`.

    ``everything``: how strongly a step is attended to, and nothing else, decides what it adds. ``position``: attention
    is the same for all samples, so the weights tell no more than where a step is. ``nothing``: all values are equal, so
    the answer is the same whatever is attended to.
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((STEPS, WIDTH), name="steps")
    places = np.random.default_rng(seed).normal(size=(STEPS, WIDTH)).astype("float32")
    read = inputs * 0 + places if kind == "position" else inputs
    energy = layers.Dense(1, name="energy", kernel_initializer=keras.initializers.RandomNormal(stddev=2.0))(read)
    weights = layers.Softmax(axis=-1, name="weights")(layers.Reshape((STEPS,))(energy))
    value = {
        "everything": lambda: layers.Activation("softplus", name="value")(energy),
        "position": lambda: layers.Dense(1, activation="softplus", name="value")(inputs),
        "nothing": lambda: inputs[..., :1] * 0 + 1,
    }[kind]()
    out = layers.Dense(1, name="out", use_bias=False, kernel_initializer="ones")
    return keras.Model(inputs, out(layers.Dot(axes=1)([weights, value])))


def steps_of(seed, samples=40):
    """Samples for such a model."""
    return np.random.default_rng(seed).normal(size=(samples, STEPS, WIDTH)).astype("float32")
