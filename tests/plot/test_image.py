"""`image`: patches over the picture that they are of, and the tokens that are no patch beside it."""

import keras
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import attnscope as ats
from attnscope.colours import SOFTEST, contrast, rgb
from attnscope.errors import LabelError, SchemaError
from attnscope.plot._image import DARKEST, SIDES, TINT
from drawings import array, axes, bar, marked, relevance, remarks, scores, title, unreadable


def patches(ax):
    image = next(found for found in ax.images if found.get_gid() == "patches")
    return np.ma.filled(image.get_array().astype(float), np.nan)


def picture(ax):
    return next(found for found in ax.images if found.get_gid() == "picture")


def special(ax):
    return [patch for patch in ax.patches if patch.get_gid() == "special"]


def test_each_patch_lies_over_its_part_of_the_picture(rng):
    weights = scores(rng, 6)
    ax = ats.plot.image(rng.random((20, 33)), weights, grid=(2, 3), ax=axes())
    np.testing.assert_allclose(patches(ax), weights.reshape(2, 3))
    assert ax.images[1].get_extent() == ax.images[0].get_extent() == [-0.5, 32.5, 19.5, -0.5]
    assert ax.images[1].get_interpolation() == "nearest"
    assert remarks(ax) == "2 x 3 patches"


def test_the_grid_is_found_in_labels_and_in_dims(rng):
    weights = scores(rng, 14)
    labels = ats.labels.patches(3, 4, prefix=["[CLS]", "<register>"])
    ax = ats.plot.image(np.zeros((6, 8)), array(weights, dims=("key",), key_label=("key", labels)), ax=axes())
    np.testing.assert_allclose(patches(ax), weights[2:].reshape(3, 4))
    flat = xr.DataArray(weights[2:].reshape(3, 4) / weights[2:].sum(), dims=("key_0", "key_1"))
    np.testing.assert_allclose(patches(ats.plot.image(np.zeros((6, 8)), flat, ax=axes())), flat)


def test_tokens_that_are_no_patch_stand_beside_the_picture_with_their_share():
    weights = np.array([0.5, 0.05, 0.1, 0.15, 0.2])
    ax = ats.plot.image(np.zeros((4, 4)), weights, grid=(2, 2), ax=axes())
    assert remarks(ax) == "2 x 2 patches · the patches have 50% of the attention, 1 token outside the picture 50%"
    (square,) = special(ax)
    assert square.get_x() > 3.5
    assert [text.get_text() for text in ax.texts if not text.get_gid()] == ["token 0  0.500"]
    assert bar(ax) == ("attention", ["0", "0.1", "0.2"])
    assert next(other for other in ax.figure.axes if other is not ax)._colorbar.extend == "max"


def test_sinks_behind_the_patches_are_special_too(rng):
    weights = xr.DataArray([0.1, 0.2, 0.2, 0.2, 0.2, 0.1], dims="key", attrs={"sinks": 1})
    ax = ats.plot.image(np.zeros((4, 4)), weights, grid=(2, 2), ax=axes())
    np.testing.assert_allclose(patches(ax), [[0.2, 0.2], [0.2, 0.2]])
    assert [text.get_text() for text in ax.texts if not text.get_gid()] == ["token 0  0.100", "token <sink>  0.100"]


def test_many_special_tokens_are_counted():
    ax = ats.plot.image(np.zeros((4, 4)), np.full(24, 1 / 24), grid=(2, 2), ax=axes())
    assert len(special(ax)) == 12
    assert [text.get_text() for text in ax.texts if not text.get_gid()][-1] == "and 8 more"


def test_attention_darkens_a_picture_in_its_own_colours_where_it_is_small():
    pixels = np.broadcast_to((0.8, 0.5, 0.2), (4, 4, 3))
    ax = ats.plot.image(pixels, np.array([0.0, 0.1, 0.4, 0.5]), grid=(2, 2), maximum=0.5, ax=axes())
    np.testing.assert_allclose(picture(ax).get_array(), pixels)
    over = ax.images[1].to_rgba(patches(ax)).reshape(4, 4)
    np.testing.assert_array_equal(over[:, :3], 0)
    np.testing.assert_allclose(over[:, 3], [DARKEST, 0.8 * DARKEST, 0.2 * DARKEST, 0], atol=DARKEST / 255)
    mean = 0.2126 * 0.8 + 0.7152 * 0.5 + 0.0722 * 0.2
    colours = next(other for other in ax.figure.axes if other is not ax)._colorbar.cmap
    np.testing.assert_allclose(colours([0.0, 1.0])[:, :3], [[(1 - DARKEST) * mean] * 3, [mean] * 3])


def test_a_grey_picture_gets_a_colour_where_it_has_attention():
    ax = ats.plot.image(np.full((4, 4), 0.5), np.array([0.0, 0.1, 0.4, 0.5]), grid=(2, 2), maximum=0.5, ax=axes())
    over = ax.images[1].to_rgba(patches(ax)).reshape(4, 4)
    np.testing.assert_allclose(over[:, 3], [0, 0.2 * TINT, 0.8 * TINT, TINT], atol=TINT / 255)
    assert np.ptp(over[0, :3]) > 0.3
    colours = next(other for other in ax.figure.axes if other is not ax)._colorbar.cmap
    np.testing.assert_allclose(colours(0.0)[:3], 0.5)
    np.testing.assert_allclose(colours(1.0)[:3], TINT * over[3, :3] + (1 - TINT) * 0.5)
    black = ats.plot.image(np.zeros((4, 4)), np.array([0.0, 0.1, 0.4, 0.5]), grid=(2, 2), ax=axes())
    np.testing.assert_allclose(picture(black).get_array(), soft(0))  # on black no colour would be seen
    pair = np.stack([np.full((4, 4, 3), 0.5), np.full((4, 4, 3), (0.9, 0.5, 0.1))])
    given = array(np.full((2, 4), 0.25), dims=("sample", "key"))
    for panel in ats.plot.image(pair, given, images=[0, 1], grid=(2, 2), ax=Figure().subplots(1, 2)):
        assert panel.images[1].to_rgba(np.array(0.0))[:3] == (0, 0, 0)


def soft(lightness):
    return SOFTEST + (1 - 2 * SOFTEST) * lightness


def test_relevance_colours_a_soft_grey_picture_and_what_is_0_has_no_colour():
    given = xr.DataArray([[-1.0, 0.0], [0.5, 1.0]], dims=("key_0", "key_1"), name="relevance")
    ax = ats.plot.image(np.full((4, 4, 3), (1.0, 0.0, 0.0)), given, ax=axes())
    np.testing.assert_allclose(picture(ax).get_array(), soft(0.2126))
    over = ax.images[1].to_rgba(patches(ax)).reshape(4, 4)
    np.testing.assert_allclose(over[:, 3], [TINT, 0, TINT / 2, TINT], atol=TINT / 100)
    low, high = np.array([rgb(side, dark=False) for side in SIDES]) / 255
    np.testing.assert_allclose(over[[0, 2, 3], :3], [low, high, high])
    assert bar(ax) == ("relevance", ["\N{MINUS SIGN}1", "0", "+1"])
    beside = xr.DataArray([0.5, -1.0, 0.0, 0.5, 1.0], dims="key", name="relevance")
    ax = ats.plot.image(np.zeros((4, 4)), beside, grid=(2, 2), ax=axes())
    assert remarks(ax) == "2 x 2 patches · the patches sum to +0.5, 1 token outside the picture to +0.5"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_gallery_has_a_panel_for_each_sample_on_one_scale_and_every_word_in_its_panel(rng, count):
    pictures = rng.random((7, 12, 8, 3))
    given = relevance(7, 7, units="logit").drop_vars("key_label")
    names = [f"patient {n}, whose name is so long that it never fits above a picture" for n in range(7)]
    given = given.assign_coords(sample=("sample", names))
    panels = ats.plot.image(pictures, given, images=range(7 - count, 7), grid=(3, 2))
    figure = panels.flat[0].figure
    shown = list(panels.flat)[:count]
    for number, ax in zip(range(7 - count, 7), shown, strict=True):
        np.testing.assert_array_equal(patches(ax), given.values[number, 1:].reshape(3, 2))
        np.testing.assert_allclose(picture(ax).get_array()[..., 0], soft(pictures[number] @ (0.2126, 0.7152, 0.0722)))
        assert ax.get_title(loc="left").startswith(f"patient {number}"[:4])
    assert len({image.images[1].get_clim() for image in shown}) == 1
    assert not unreadable(figure)
    assert max(ax.get_position().height / ax.get_position(original=True).height for ax in shown) > 0.9
    places = [ax.get_window_extent() for ax in shown]
    for ax, place in zip(shown, places, strict=True):
        words = [text for text in (*ax.texts, ax._left_title) if text.get_text()]
        assert len(words) == 2
        assert all(word.get_window_extent().x1 < place.x1 + 2 for word in words)
    pyplot.close(figure)


def test_a_gallery_of_samples_that_are_not_there_is_refused(rng):
    pictures, given = rng.random((2, 4, 4)), array(scores(rng, 2, 4), dims=("sample", "key"))
    cases = {
        "images=[] was given with the dims ('sample', 'key') and sample=None, but a gallery shows 1 to 36 samples out "
        "of several. Write images=[0, 1] without sample=, or select one picture: image(pictures[0], weights, "
        "sample=0).": (
            (pictures, given),
            [],
        ),
        "The pictures have shape (1, 4, 4), but there are 2 samples, and one picture for each is needed: (sample, "
        "height, width) or (sample, height, width, channels).": ((pictures[:1], given), [0]),
        "Sample 2 was asked for, but there are 2 samples: 0 to 1. Give one of these: sample=0.": (
            (pictures, given),
            [2],
        ),
    }
    for message, (arguments, images) in cases.items():
        with pytest.raises(SchemaError) as caught:
            ats.plot.image(*arguments, images=images, grid=(2, 2))
        assert str(caught.value) == message


def test_of_queries_the_mean_is_taken_without_padding(rng):
    values = scores(rng, 2, 3, 5, 4)
    valid = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    given = array(values, query_valid=(("sample", "query"), valid))
    ax = ats.plot.image(np.zeros((4, 4)), given, grid=(2, 2), head=1, ax=axes())
    np.testing.assert_allclose(patches(ax).ravel(), values[0, 1, :3].mean(0))
    assert title(ax) == "encoder/mha"
    assert remarks(ax) == "sample 0 of 2, head 1, mean of 3 queries · 2 x 2 patches"
    assert bar(ax)[0] == "attention received"
    one = ats.plot.image(np.zeros((4, 4)), given.isel(query=1), grid=(2, 2), sample=1, ax=axes())
    np.testing.assert_allclose(patches(one).ravel(), values[1, :, 1].mean(0))
    assert bar(one)[0] == "attention"


def test_masked_patches_are_hatched_and_nan_is_red():
    weights = array(np.array([0.5, np.nan, 0.5, 0.0]), dims=("key",), key_valid=("key", [True, True, True, False]))
    ax = ats.plot.image(np.zeros((4, 4)), weights, grid=(2, 2), ax=axes())
    expected = np.kron([[0, 0], [0, 1]], np.ones((2, 2), bool)).astype(bool)
    np.testing.assert_array_equal(marked(ax, "masked", (4, 4)), expected)
    np.testing.assert_array_equal(marked(ax, "nan", (4, 4)), np.kron([[0, 1], [0, 0]], np.ones((2, 2))).astype(bool))
    assert remarks(ax) == "2 x 2 patches · hatched: masked · red: NaN"


@pytest.mark.parametrize(
    ("given", "grey"),
    [
        (np.full((2, 2), 51, np.uint8), soft(0.2)),
        (np.full((2, 2, 1), 0.2, np.float32), soft(0.2)),
        (np.full((2, 2, 3), 0.2), soft(0.2)),
        (np.dstack([np.full((2, 2), 255), np.zeros((2, 2)), np.zeros((2, 2))]).astype(np.uint8), 0.2126),
        (np.dstack([np.full((2, 2, 3), 0.2), np.ones((2, 2))]), soft(0.2)),
        (np.array([[True, False], [False, True]]), soft(np.eye(2))),
    ],
)
def test_pictures_of_every_kind(given, grey):
    ax = ats.plot.image(given, np.full(4, 0.25), grid=(2, 2), ax=axes())
    drawn = picture(ax).get_array()
    assert drawn.shape == (2, 2, 3)
    np.testing.assert_allclose(drawn @ (0.2126, 0.7152, 0.0722), np.broadcast_to(grey, (2, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            np.zeros((3, 8, 9)),
            "The picture has shape (3, 8, 9), but (height, width) or (height, width, channels) with 1, 3 or 4 "
            "channels is needed. Its channels come first; move them to the end: np.moveaxis(picture, 0, -1).",
        ),
        (
            np.zeros((5, 8, 9, 3)),
            "The picture has shape (5, 8, 9, 3), but (height, width) or (height, width, channels) with 1, 3 or "
            "4 channels is needed. To draw several pictures, say of which samples, images=[0, 1, 2]; or select one: "
            "pictures[0].",
        ),
        (
            np.array([[-2.1, 2.5]]),
            "The picture is float64 from -2.10 to 2.50, but floats have to lie between 0 and 1, and integers between "
            "0 and 255. Undo the model's preprocessing: picture / 255, or picture * std + mean.",
        ),
    ],
)
def test_what_is_no_picture_is_refused(given, message):
    with pytest.raises(SchemaError) as caught:
        ats.plot.image(given, np.full(4, 0.25), grid=(2, 2), ax=axes())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("keys", "grid", "message"),
    [
        (
            197,
            None,
            "The weights have 197 keys, but neither labels nor dims say how many rows and columns of patches they "
            "are. Write, for example, grid=(14, 14), which leaves 1 special token before them.",
        ),
        (
            23,
            None,
            "The weights have 23 keys, but neither labels nor dims say how many rows and columns of patches they "
            "are. Write grid=(rows, columns).",
        ),
        (
            16,
            (5, 4),
            "grid=(5, 4) has 20 patches, but the weights have 16 keys. Write, for example, grid=(4, 4).",
        ),
    ],
)
def test_a_grid_that_is_not_known_or_does_not_fit(keys, grid, message):
    with pytest.raises(LabelError) as caught:
        ats.plot.image(np.zeros((4, 4)), np.full(keys, 1 / keys), grid=grid, ax=axes())
    assert str(caught.value) == message


KNOWN_GRIDS = {
    "attrs['grid'] says": xr.DataArray(np.full(6, 1 / 6), dims="key", attrs={"grid": [2, 3]}),
    "the dims key_0 and key_1 say": xr.DataArray(np.full((2, 3), 1 / 6), dims=("key_0", "key_1")),
    "the labels say": xr.DataArray(
        np.full(7, 1 / 7), {"key_label": ("key", ats.labels.patches(2, 3, prefix=["[CLS]"]))}, "key"
    ),
}


@pytest.mark.parametrize("says", KNOWN_GRIDS)
def test_a_grid_other_than_the_one_that_the_weights_say_is_refused(says):
    weights = KNOWN_GRIDS[says]
    for grid in [(3, 2), (1, 6)]:
        with pytest.raises(LabelError) as caught:
            ats.plot.image(np.zeros((6, 6)), weights, grid=grid, ax=axes())
        assert str(caught.value) == (
            f"grid={grid} was given, but {says} that the weights are of 2 x 3 patches. Write grid=(2, 3), or leave it "
            "out."
        )
    assert patches(ats.plot.image(np.zeros((6, 6)), weights, grid=(2, 3), ax=axes())).shape == (2, 3)


def test_patches_that_are_no_whole_pixels_are_said():
    even = np.full(16, 1 / 16)
    said = "4 x 4 patches · a patch is 1.5 x 2 pixels: drawn as if the picture had only been resized"
    assert remarks(ats.plot.image(np.zeros((6, 8)), even, grid=(4, 4), ax=axes())).endswith(said)
    assert remarks(ats.plot.image(np.zeros((4, 8)), even, grid=(4, 4), ax=axes())).endswith("4 x 4 patches")


def test_relevance_of_a_model_s_pictures_knows_their_grid_and_a_gallery_what_holds_for_all(rng):
    inputs = keras.Input((4, 6, 1))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    pictures = rng.random((8, 4, 6, 1)).astype("float32")
    given = ats.attribute(model, pictures, method="occlusion", grid=(2, 3), classes=["cat", "dog"])
    given = given.assign_coords(sample_target=("sample", ["class 'cat'", "class 'dog'"] * 4))
    panels = ats.plot.image(pictures, given, images=[0, 1])
    assert patches(panels.flat[0]).shape == (2, 3)
    written = {ax.get_ylabel() for ax in panels.flat[0].figure.axes}
    assert "occlusion, probability of the predicted class" in written
    pyplot.close(panels.flat[0].figure)
    decided = given.assign_coords(decision=("sample", ["cat"] * 8), answer=("sample", np.ones(8)))
    figure = ats.plot.image(pictures, decided, images=[0, 1]).flat[0].figure
    assert "the model says" not in figure.get_suptitle()
    pyplot.close(figure)
    figure = ats.plot.image(pictures, decided.assign_attrs(verdict="word " * 60), images=[0, 1]).flat[0].figure
    figure.canvas.draw()
    assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1
    pyplot.close(figure)


@pytest.mark.parametrize("lightness", [0.0, 0.5, 1.0], ids=["black", "grey", "white"])
def test_both_sides_of_relevance_can_be_told_on_any_picture(lightness):
    """On black, grey and white: a patch stands out from one of 0, blue from orange, and below 0 there is a dash."""
    given = xr.DataArray([[-1.0, 0.0], [0.0, 1.0]], dims=("key_0", "key_1"), name="relevance")
    ax = ats.plot.image(np.full((40, 40), lightness), given, ax=axes())
    over = ax.images[1].to_rgba(patches(ax)).reshape(4, 4)
    ground = picture(ax).get_array()[0, 0]
    less, none, _, more = 255 * (over[:, 3:] * over[:, :3] + (1 - over[:, 3:]) * ground)
    assert less[2] - less[0] > 60 < more[0] - more[2]  # one is blue, the other orange
    assert np.ptp(none) < 1
    assert np.linalg.norm(less - none) > 60 < np.linalg.norm(more - none)
    (dashes,) = [marks for marks in ax.collections if marks.get_gid() == "below 0"]
    (line,) = dashes.get_segments()
    np.testing.assert_allclose(line.mean(0), [9.5, 9.5])
    assert contrast(255 * dashes.get_colors()[0, :3], less) > 3
