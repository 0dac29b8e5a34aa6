"""Pictures that are pooled before anything attends: on PyTorch Keras would put an empty tensor in their place."""

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize(
    "pooling",
    [
        layers.MaxPooling2D(2),
        layers.MaxPooling2D(2, padding="same"),
        layers.AveragePooling2D(2),
        layers.AdaptiveMaxPooling2D(4),
        layers.AdaptiveAveragePooling2D(4),
    ],
    ids=["maximum", "maximum, padded", "mean", "adaptive maximum", "adaptive mean"],
)
def test_what_was_pooled_is_still_data_that_scores_can_weight(pooling):
    picture = keras.Input((8, 8, 3), name="picture")
    x = layers.Reshape((16, 8))(pooling(layers.Conv2D(8, 3, padding="same")(picture)))
    weights = layers.Softmax(axis=1, name="pool")(layers.Dense(1)(x))
    model = keras.Model(picture, keras.ops.sum(weights * x, axis=1))
    [site] = ats.sites(model, np.zeros((3, 8, 8, 3), "float32"))
    assert (site.name, site.taken, site.dims) == ("pool", True, ("sample", "key"))
