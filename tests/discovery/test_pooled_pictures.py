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
    ],
    ids=["maximum", "maximum, padded", "mean"],
)
def test_what_was_pooled_is_patches_of_the_picture(pooling):
    picture = keras.Input((8, 8, 3), name="picture")
    x = layers.Reshape((16, 8))(pooling(layers.Conv2D(8, 3, padding="same")(picture)))
    weights = layers.Softmax(axis=1, name="pool")(layers.Dense(1)(x))
    outputs = [layers.MultiHeadAttention(2, 4, name="mha")(x, x), keras.ops.sum(weights * x, axis=1)]
    model = keras.Model(picture, outputs)
    found = {site.name: site for site in ats.sites(model, np.zeros((3, 8, 8, 3), "float32"))}
    assert {name: (site.dims, site.certainty, site.lineage["key"]) for name, site in found.items()} == {
        "mha": (("sample", "head", "query", "key"), "traced", "patches of input 'picture'"),
        "pool": (("sample", "key"), "traced", "patches of input 'picture'"),
    }


@pytest.mark.parametrize("pooling", [layers.AdaptiveMaxPooling2D(4), layers.AdaptiveAveragePooling2D(4)])
def test_adaptive_pooling_keeps_to_the_picture_whether_it_slides_or_picks(pooling):
    picture = keras.Input((8, 8, 3), name="picture")
    x = layers.Reshape((16, 8))(pooling(layers.Conv2D(8, 3, padding="same")(picture)))
    model = keras.Model(picture, layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    [site] = ats.sites(model, np.zeros((3, 8, 8, 3), "float32"))
    assert (site.dims, site.certainty) == (("sample", "head", "query", "key"), "traced")
    assert "patches of input 'picture'" in site.lineage["key"]
