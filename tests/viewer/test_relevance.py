"""Relevance beside the maps: its numbers, in colours around 0, with method and scale, and over its own keys only."""

import json
from functools import cache

import keras
import numpy as np
import pytest
import xarray as xr
from keras import layers, ops

import attnscope as ats
from attnscope import colours
from attnscope.errors import InputError, SchemaError
from viewer_blocks import inflated
from viewer_screens import names, same_colour, saved, screen, settled, softmax

TOKENS = ["[CLS]", "a", "good", "film", "[SEP]"]


def maps_of(rng, labels=TOKENS, samples=3):
    return ats.AttentionMaps.from_arrays(
        {f"layer_{n}": softmax(rng.normal(size=(samples, 2, len(labels), len(labels)))) for n in range(2)},
        labels=labels,
        roles={"*": ("text", "text")},
    )


def relevance_of(values, labels=TOKENS, valid=None, **attrs):
    values = np.asarray(values, dtype=float)
    coords = {} if labels is None else {"key_label": ("key", list(labels))}
    if valid is not None:
        coords["key_valid"] = (("sample", "key"), valid)
    about = {"method": "integrated_gradients", "target": "class 'good'", "units": "logit", "class_specific": True}
    return xr.DataArray(values, dims=("sample", "key"), coords=coords, name="relevance", attrs={**about, **attrs})


def rows_in(payload, place):
    """What the block of a sample holds, by its written layout: values and padding of each row."""
    content, rows = inflated(payload.block(f"relevance/{place}")), []
    for row in payload.manifest["relevance"]:
        size = row["count"]
        rows.append((np.frombuffer(content, "<f4", size), np.frombuffer(content, "u1", size, 4 * size).tolist()))
        content = content[5 * size :]
    assert content == b""
    return rows


def test_relevance_goes_to_the_page_as_it_is(rng):
    valid = np.ones((3, 5), bool)
    valid[2, 3:] = False
    first = relevance_of(np.where(valid, rng.normal(size=(3, 5)), 0), valid=valid)
    second = relevance_of(rng.normal(size=(3, 5)) / 100, method="chefer", units="")
    payload = ats.view(maps_of(rng), relevance={"integrated_gradients": first, "mine": second}, samples=[2, 0]).payload
    one, other = payload.manifest["relevance"]
    assert one["words"] == ["integrated gradients, logit of 'good'"] * 2
    assert other["words"] == ["mine: chefer, class 'good'"] * 2
    assert one["starts"] == other["starts"] == [[0, 0, 0], [0, 0, 0]]  # two sites and their rollout
    shown = np.abs(first.values[[2, 0]])
    assert shown.max() <= one["maximum"] <= 2 * shown.max()
    assert [name for name in payload.names() if name.startswith("relevance")] == ["relevance/0", "relevance/1"]
    for place, sample in enumerate([2, 0]):
        (values, padding), (others, none) = rows_in(payload, place)
        np.testing.assert_array_equal(values, first.values[sample].astype("float32"))
        np.testing.assert_array_equal(others, second.values[sample].astype("float32"))
        assert padding == [int(not real) for real in valid[sample]]
        assert none == [0] * 5
    assert not payload.holds("relevance/2")


def test_without_relevance_a_page_has_no_such_block(rng):
    payload = ats.view(maps_of(rng)).payload
    assert payload.manifest["relevance"] == []
    assert not payload.holds("relevance/0")


def test_each_target_and_each_samples_own_target_is_named(rng):
    several = xr.concat(
        [relevance_of(np.ones((3, 5))), relevance_of(-np.ones((3, 5)))],
        dim=xr.DataArray(["class 'bad'", "class 'good'"], dims="target", name="target"),
    ).assign_attrs(target="several")
    own = relevance_of(np.ones((3, 5)), target="the predicted class")
    own = own.assign_coords(sample_target=("sample", ["class 'good'", "class 'bad'", "class 'good'"]))
    rows = ats.view(maps_of(rng), relevance={"a": several, "integrated_gradients": own}).payload.manifest["relevance"]
    assert [row["words"][1] for row in rows] == [
        "a: integrated gradients, logit of 'bad'",
        "a: integrated gradients, logit of 'good'",
        "integrated gradients, logit of 'bad'",
    ]


def test_labels_place_it_among_more_keys(rng):
    inner = relevance_of(np.ones((3, 3)), labels=TOKENS[1:4])
    assert ats.view(maps_of(rng), relevance=inner).payload.manifest["relevance"][0]["starts"] == [[1, 1, 1]] * 3
    twice = ats.AttentionMaps.from_arrays({"a": softmax(rng.normal(size=(1, 1, 4, 4)))}, labels=["a", "b", "a", "b"])
    with pytest.raises(InputError):
        ats.view(twice, relevance=relevance_of(np.ones((1, 2)), labels=["a", "b"]))


class ClassToken(layers.Layer):
    """Puts a token of its own in front."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]))

    def call(self, x):
        return ops.concatenate([ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1])), x], axis=1)


def picture_model():
    """Patches of 2 x 3 behind a class token, and the axis of a text whose sizes are the same."""
    picture = keras.Input((8, 12, 3), name="picture")
    text = keras.Input((6, 4), name="text")
    patches = ClassToken(name="cls")(layers.Reshape((6, 4))(layers.Conv2D(4, 4, 4)(picture)))
    seen = layers.MultiHeadAttention(2, 3, name="seen")(patches, patches)
    read = layers.MultiHeadAttention(2, 3, name="read")(text, text)
    pooled = layers.Concatenate()([seen[:, 0], layers.GlobalAveragePooling1D()(read)])
    return keras.Model({"picture": picture, "text": text}, layers.Dense(2)(pooled))


def test_without_labels_it_is_placed_by_what_it_comes_from(rng):
    model = picture_model()
    data = {"picture": rng.random((2, 8, 12, 3), "float32"), "text": rng.random((2, 6, 4), "float32")}
    maps = ats.capture(model, data, progress=False)
    assert list(maps) == ["read", "seen"]
    steps, patches = (
        ats.attribute(model, data, target=1, method="gradient_x_input", positions=name, grid=grid)
        for name, grid in (("text", None), ("picture", (2, 3)))
    )
    assert json.loads(steps.attrs["lineage"]) == {"key": "axis 1 of input 'text'"}
    assert json.loads(steps.attrs["positions"]) == {"key": "steps"}
    assert json.loads(patches.attrs["lineage"]) == {"key": "patches of input 'picture'"}
    assert (json.loads(patches.attrs["positions"]), patches.attrs["grid"]) == ({"key": "patches"}, [2, 3])
    rows = ats.view(maps, relevance={"steps": steps, "patches": patches}, grid=(2, 3)).payload.manifest["relevance"]
    assert [row["starts"][0] for row in rows] == [[0, None], [None, 1]]
    with pytest.raises(InputError) as caught:  # as many, but other patches
        ats.view(maps, relevance=patches.assign_attrs(grid=[3, 2]), grid=(2, 3))
    assert str(caught.value) == (
        "The relevance (gradient x input, class 1) is of 6 positions without labels, but no site has these as its "
        "keys: 'read' has 6 ('0', '1', '2', ...). Keys and positions are the same if their labels are, or if both come "
        "from the same axis of the same input. Give both the same inputs and labels: ats.capture(model, inputs, "
        "labels=names) and ats.attribute(model, inputs, labels=names). Patches need a grid too: ats.view(maps, "
        "relevance=..., grid=(3, 2))."
    )


def test_what_is_no_relevance_of_these_keys_is_refused(rng):
    maps = maps_of(rng)
    with pytest.raises(InputError) as caught:
        ats.view(maps, relevance=relevance_of(np.ones((3, 5)), labels=list("vwxyz")))
    assert str(caught.value) == (
        "The relevance (integrated gradients, logit of 'good') is of 5 positions ('v', 'w', 'x', ...), but no site has "
        "these as its keys: 'layer_0' has 5 ('[CLS]', 'a', 'good', ...). Keys and positions are the same if their "
        "labels are, or if both come from the same axis of the same input. Give both the same inputs and labels: "
        "ats.capture(model, inputs, labels=names) and ats.attribute(model, inputs, labels=names)."
    )
    with pytest.raises(InputError) as caught:
        ats.view(maps, relevance=relevance_of(np.ones((2, 5))))
    assert str(caught.value) == (
        "The relevance is of 2 samples, but the maps hold 3. Give that of the same samples, in the same order: "
        "ats.view(ats.capture(model, inputs), relevance=ats.attribute(model, inputs))."
    )
    with pytest.raises(SchemaError) as caught:
        ats.view(maps, relevance=[relevance_of(np.ones((3, 5)))])
    assert str(caught.value) == (
        "The relevance is a list, but what ats.attribute returns is needed, or several of these by name: "
        "ats.view(maps, relevance=ats.attribute(model, inputs))."
    )
    with pytest.raises(SchemaError) as caught:
        ats.view(maps, relevance=maps["layer_0"].mean(["head", "query"]))
    assert str(caught.value) == (
        "The relevance is an array called 'scores' whose attrs name no method, but what ats.attribute returns is "
        "needed: attention is no relevance. For relevance from elsewhere, say by which method it is: "
        "array.rename('relevance').assign_attrs(method='my method')."
    )
    with pytest.raises(SchemaError) as caught:
        ats.view(maps, relevance=relevance_of(np.ones((3, 5))).rename(key="word"))
    assert str(caught.value) == (
        "The relevance has the dims ('sample', 'word'), but 'sample' and 'key' are needed, as ats.attribute(model, "
        "inputs) returns it; 'target' may be there too."
    )


def opened(open_page, file, link, **options):
    page = open_page(f"{file.as_uri()}#{link}", **options)
    settled(page)
    return page


diverging = cache(colours.diverging)


def expected(value, maximum, *, dark=False):
    return diverging(dark=dark)[round(127.5 + 127.5 * np.clip(value / maximum, -1, 1))]


@pytest.mark.parametrize("dark", [False, True])
def test_a_text_has_a_row_of_signed_colours_with_its_method_and_scale(rng, open_page, tmp_path, dark):
    values = np.array([[0.2, -0.4, 0.35, 0.0, 0.1], [0.1, 0.1, -0.2, 0.3, 0.0]])
    valid = np.ones((2, 5), bool)
    valid[1, 4] = False
    relevance = relevance_of(values, valid=valid)
    file = saved(tmp_path, maps_of(rng, samples=2), relevance=relevance)
    page = opened(open_page, file, "view=text", dark=dark)
    group = page.get_by_role("group", name="Relevance")
    assert group.get_by_role("heading").all_inner_texts() == ["Relevance", "integrated gradients, logit of 'good'"]
    assert "\N{MINUS SIGN}0.4 lowers" in group.inner_text()
    assert "raises +0.4" in group.inner_text()
    assert "attention" not in group.inner_text().lower()
    tokens = group.get_by_role("option")
    for place, value in enumerate(values[0]):
        token = tokens.nth(place)
        assert same_colour(screen(token)[3, 3], expected(value, 0.4, dark=dark)), place
        assert ("less" in token.get_attribute("class")) == (value < 0)
    tokens.nth(1).hover()
    assert group.locator(".readout").inner_text().replace("\u2068", "").replace("\u2069", "") == (
        "“a”: relevance \N{MINUS SIGN}0.400"
    )
    page.get_by_role("button", name="Next sample").click()
    settled(page)
    assert ["masked" in token.get_attribute("class") for token in tokens.all()] == [False] * 4 + [True]
    assert same_colour(screen(tokens.nth(2))[3, 3], expected(-0.2, 0.4, dark=dark))


def test_a_picture_has_its_relevance_over_it_and_beside_it(rng, open_page, tmp_path):
    labels = ["[CLS]", *ats.labels.patches(2, 3)]
    values = np.array([[0.2, -0.4, 0.35, 0.0, 0.1, 0.4]])
    maps = maps_of(rng, labels=labels, samples=1)
    relevance = relevance_of(values, labels=labels[1:])
    grey = np.full((1, 40, 60), 128, "uint8")
    page = opened(open_page, saved(tmp_path, maps, relevance=relevance, images=grey), "view=image")
    group = page.get_by_role("group", name="Relevance")
    canvas = group.get_by_role("img", name="Relevance of patches: integrated gradients, logit of 'good'")
    canvas.scroll_into_view_if_needed()
    pixels, box = screen(canvas), canvas.bounding_box()
    alone = [place for place in range(pixels.shape[1]) if same_colour(pixels[-20, place], expected(0.0, 0.4))]
    left, found = min(alone), []  # the panel without the picture: its fourth patch, 0.0, is at the lower left
    width = (alone[-1] - left + 1) * 3
    for row, column in np.ndindex(2, 3):
        x, y = left + (column + 0.5) * width / 3, box["height"] - (1.5 - row) * width / 3
        found.append(pixels[int(y), int(x)])
    for colour, value in zip(found, values[0], strict=True):
        assert same_colour(colour, expected(value, 0.4)), value
    over = pixels[int(box["height"] - 1.5 * width / 3), int(width / 2)]  # -0.4 over grey
    tint = (1 - 0.65) * 128 + 0.65 * expected(-0.4, 0.4).astype(float)
    assert same_colour(over, tint, 4)
    page.mouse.move(box["x"] + left + width / 2, box["y"] + box["height"] - 1.5 * width / 3)
    assert "relevance \N{MINUS SIGN}0.400" in group.locator(".readout").inner_text()


def test_hostile_words_are_only_words(rng, open_page, tmp_path):
    bad = "</script><img src=x onerror=window.ran=1>\u202e"
    relevance = relevance_of(rng.normal(size=(3, 5)), labels=[bad, *names("t", 4)], method=bad, target=bad, units=bad)
    maps = maps_of(rng, labels=[bad, *names("t", 4)])
    page = opened(open_page, saved(tmp_path, maps, relevance={bad: relevance}), "view=text")
    assert page.evaluate("window.ran") is None
    assert page.locator("img").count() == 0
    assert (
        "</script><img src=x onerror=window.ran=1>⟨U+202E⟩" in page.get_by_role("group", name="Relevance").inner_text()
    )
