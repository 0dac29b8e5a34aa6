"""The recipe "Why are attention maps not visualizing correctly in my TensorFlow Keras attention model?", as it is run.

Each example runs as it stands, but for three things: `model.attention_weights`, which no Keras model has, is
`ats.capture(model, x)[site].values`; `plt.show()` is left out; and figures are closed. Beside each stands the form of
`docs/recipes.md`, which does not rescale a picture until a constant map is blank and a faint one looks sharp.
"""

import keras
import matplotlib
import numpy as np
import pytest

import attnscope as ats

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SAMPLES, HEADS, QUERIES, KEYS = 2, 3, 5, 7


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def cross_attention(rng, *, constant=False):
    """A model with encoder-decoder attention, and its inputs; its map is the same everywhere if `constant`."""
    target, source = keras.Input((QUERIES, 8), name="target"), keras.Input((KEYS, 8), name="source")
    layer = keras.layers.MultiHeadAttention(HEADS, 4, name="cross_attention")
    model = keras.Model([target, source], layer(target, source))
    if constant:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    return model, [rng.normal(size=(SAMPLES, size, 8)).astype("float32") for size in (QUERIES, KEYS)]


def drawn(axes):
    """Data and limits of the picture in some axes."""
    (image,) = axes.images
    return np.asarray(image.get_array()), image.get_clim()


def example_1(attention_weights):
    """Basic attention visualization, single head, single batch."""
    head_index = 0
    batch_index = 0
    selected_weights = attention_weights[batch_index, head_index, :, :]
    selected_weights = (selected_weights - np.min(selected_weights)) / (
        np.max(selected_weights) - np.min(selected_weights)
    )
    plt.imshow(selected_weights, cmap="viridis")
    plt.colorbar()
    plt.xlabel("Source Sequence Position")
    plt.ylabel("Target Sequence Position")
    plt.title("Attention Map (Head 0, Batch 0)")
    return plt.gcf().axes[0]


def example_2(attention_weights, batch_index=0):
    """Averaging attention weights across heads."""
    averaged_weights = np.mean(attention_weights[batch_index, :, :, :], axis=0)
    averaged_weights = (averaged_weights - np.min(averaged_weights)) / (
        np.max(averaged_weights) - np.min(averaged_weights)
    )
    plt.imshow(averaged_weights, cmap="magma")
    plt.colorbar()
    plt.xlabel("Source Sequence Position")
    plt.ylabel("Target Sequence Position")
    plt.title("Averaged Attention Map (Batch 0)")
    return plt.gcf().axes[0]


def example_3(attention_weights):
    """Multi-batch visualization, using a loop."""
    num_batches = attention_weights.shape[0]
    num_heads = attention_weights.shape[1]
    for b in range(num_batches):
        for h in range(num_heads):
            selected_weights = attention_weights[b, h, :, :]
            selected_weights = (selected_weights - np.min(selected_weights)) / (
                np.max(selected_weights) - np.min(selected_weights)
            )
            plt.figure()
            plt.imshow(selected_weights, cmap="plasma")
            plt.colorbar()
            plt.xlabel("Source Sequence Position")
            plt.ylabel("Target Sequence Position")
            plt.title(f"Attention Map (Head {h}, Batch {b})")


def rescaled(values):
    return (values - values.min()) / (values.max() - values.min())


def test_example_1_runs_on_captured_scores(rng):
    model, x = cross_attention(rng)
    scores = ats.capture(model, x)["cross_attention"]
    picture, _ = drawn(example_1(scores.values))
    np.testing.assert_allclose(picture, rescaled(scores.values[0, 0]))
    assert picture.shape == (QUERIES, KEYS)


def test_example_1_done_right_shows_the_scores_themselves_with_named_axes(rng):
    model, x = cross_attention(rng)
    scores = ats.capture(model, x)["cross_attention"]
    mesh = scores.sel(head=0).isel(sample=0).plot.imshow(vmin=0, vmax=1, yincrease=False)
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), scores.values[0, 0])
    assert mesh.get_clim() == (0, 1)
    assert (mesh.axes.get_xlabel(), mesh.axes.get_ylabel()) == ("key", "query")


def test_example_2_runs_on_captured_scores(rng):
    model, x = cross_attention(rng)
    scores = ats.capture(model, x)["cross_attention"]
    picture, _ = drawn(example_2(scores.values))
    np.testing.assert_allclose(picture, rescaled(scores.values[0].mean(axis=0)), rtol=1e-5)
    right = scores.mean("head").isel(sample=0).plot.imshow(ax=plt.figure().gca(), vmin=0, vmax=1, yincrease=False)
    np.testing.assert_allclose(np.asarray(right.get_array()), scores.values[0].mean(axis=0), rtol=1e-6)


def test_example_3_runs_on_captured_scores(rng):
    model, x = cross_attention(rng)
    scores = ats.capture(model, x)["cross_attention"]
    example_3(scores.values)
    assert len(plt.get_fignums()) == SAMPLES * HEADS
    plt.close("all")
    grid = scores.plot.imshow(row="sample", col="head", vmin=0, vmax=1, yincrease=False)
    for sample, row in enumerate(grid.axs):
        for head, axes in enumerate(row):
            picture, limits = drawn(axes)
            np.testing.assert_array_equal(picture, scores.values[sample, head])
            assert limits == (0, 1)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_constant_map_is_blank_in_the_recipe_and_flat_in_ours_and_the_lint_says_so(rng):
    model, x = cross_attention(rng, constant=True)
    maps = ats.capture(model, x)
    scores = maps["cross_attention"]
    picture, _ = drawn(example_1(scores.values))
    assert np.isnan(np.ma.filled(picture, np.nan)).all()
    right = scores.sel(head=0).isel(sample=0).plot.imshow(ax=plt.figure().gca(), vmin=0, vmax=1, yincrease=False)
    np.testing.assert_allclose(np.asarray(right.get_array()), 1 / KEYS, rtol=1e-6)
    assert [(finding.kind, finding.site) for finding in maps.findings] == [("uniform", "cross_attention")]


def test_a_sharp_and_a_faint_map_look_the_same_in_the_recipe_and_differ_in_ours():
    sharp, faint = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.51, 0.49], [0.49, 0.51]])
    np.testing.assert_allclose(rescaled(sharp), rescaled(faint))
    arrays = ats.AttentionMaps.from_arrays(
        {"sharp": sharp[None], "faint": faint[None]}, dims=("sample", "query", "key")
    )
    for name, values in (("sharp", sharp), ("faint", faint)):
        mesh = arrays[name].isel(sample=0).plot.imshow(ax=plt.figure().gca(), vmin=0, vmax=1, yincrease=False)
        np.testing.assert_array_equal(np.asarray(mesh.get_array()), values)
        assert mesh.get_clim() == (0, 1)
