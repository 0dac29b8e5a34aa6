"""The page: what is on it, that nothing on it runs or loads, and that it says what it draws."""

import base64
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope import colours
from attnscope.errors import InputError, WouldOverwriteError
from attnscope.marks import number, rounded_up, shown
from attnscope.pages import Bars, Section, received, received_per_group, report, save_report
from attnscope.pages._charts import blocks
from attnscope.pages._means import mean_maps

HOSTILE = ["<script>alert(1)</script>", '" onload="x', "' onload='x", "&amp;", "\u202eevil", "", " "]


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text without the tooltips."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.text, self._tags = [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._tags.append(tag)

    def handle_data(self, data):
        if not self._tags or self._tags[-1] != "style":
            self.text += data

    def handle_endtag(self, tag):
        self._tags.append("")

    def classes(self, tag):
        return [attributes.get("class", "") for name, attributes in self.elements if name == tag]


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def causal(rng, samples=5, heads=2, positions=7):
    scores = softmax(rng.normal(size=(samples, heads, positions, positions))) * np.tril(np.ones((positions,) * 2))
    return scores / scores.sum(-1, keepdims=True)


def cells(source):
    """For each tooltip of a cell the class of the cell."""
    return {title: mark for mark, title in re.findall(r"<rect class=(\S+) [^>]*><title>([^<]*)</title></rect>", source)}


def cell(row, column):
    return f"query \u2068{row}\u2069, key \u2068{column}\u2069: "


def test_hostile_labels_names_and_titles_stay_text(rng):
    maps = ats.AttentionMaps.from_arrays({"<b>site</b>": causal(rng)}, labels=HOSTILE)
    source = report(maps, title="<img src=x onerror=alert(1)>", sections=[Section("<i>a</i>", ["<u>b</u>"])])
    page = Page(source)
    assert not {tag for tag, _ in page.elements} & {"script", "img", "u", "iframe", "object", "link"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "<b>site</b>" in page.text
    assert "\u202e" not in source


def test_labels_that_cannot_be_seen_get_a_mark():
    assert [shown(label) for label in ["", " ", "a\nb", "\t", "\u202ex", "\ud800", "שלום", "a\u200db"]] == [
        "∅", "␣", "a⏎b", "⇥", "⟨U+202E⟩x", "⟨U+D800⟩", "שלום", "a\u200db",
    ]  # fmt: skip


def test_a_page_loads_nothing_and_runs_nothing(rng):
    maps = ats.AttentionMaps.from_arrays({"small": causal(rng), "large": softmax(rng.normal(size=(2, 1, 71, 67)))})
    source = report(maps)
    page = Page(source)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "data", "action")
    ]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#site-")) for address in addresses)
    assert not re.search(r"https?:|//|@import|url\((?!#)", re.sub(r"base64,[^'\"]*", "", source))
    assert "script" not in {tag for tag, _ in page.elements}
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_cells_show_the_mean_over_samples_and_its_exact_value(rng):
    scores = causal(rng).astype("float32")
    drawn = cells(report(ats.AttentionMaps.from_arrays({"site": scores[:, :1]})))
    for row in range(7):
        for column in range(row + 1):
            total = 0.0
            for sample in range(5):
                total += float(scores[sample, 0, row, column])
            mark = drawn[f"{cell(row, column)}{total / 5:.7g}"]
            assert mark == f"v{round(total / 5 * 255)}"  # the first row is 1, so the scale ends there


def test_the_scale_is_stated_and_shared_by_all_heads(rng):
    scores = np.zeros((3, 2, 5, 5))
    scores[:] = [0.4, 0.3, 0.1, 0.1, 0.1]
    scores[:, 1] = [0.2, 0.2, 0.2, 0.2, 0.2]
    source = report(ats.AttentionMaps.from_arrays({"site": scores}))
    assert "colour scale from 0 to 0.4'" in source
    drawn = cells(source)
    assert drawn[f"{cell(0, 0)}0.4"] == "v255"
    assert drawn[f"{cell(0, 0)}0.2"] == f"v{round(0.5 * 255)}"


@pytest.mark.parametrize(
    ("largest", "end"),
    [(0.0931, 0.1), (0.1, 0.1), (0.11, 0.15), (0.3, 0.3), (1.0, 1.0), (0.0, 1.0), (6.1, 8.0)],
)
def test_a_scale_ends_at_a_round_number_that_is_no_smaller(largest, end):
    assert rounded_up(largest) == end


def test_masked_cells_are_hatched(rng):
    drawn = cells(report(ats.AttentionMaps.from_arrays({"site": causal(rng)})))
    for row in range(7):
        for column in range(7):
            assert (drawn.get(f"{cell(row, column)}masked: 0 in every sample") == "masked") == (column > row)


def test_nan_is_marked_and_its_neighbours_are_not(rng):
    scores = causal(rng)
    scores[2, 0, 4, 3] = np.nan
    source = report(ats.AttentionMaps.from_arrays({"site": scores}))
    assert [title for title, mark in cells(source).items() if mark == "nan"] == [f"{cell(4, 3)}NaN in 1 of the values"]
    assert source.count("<path class=cross") == 1


def test_a_constant_map_is_flat():
    source = report(ats.AttentionMaps.from_arrays({"site": np.full((3, 2, 5, 5), 0.2)}))
    assert set(cells(source).values()) == {"v255"}
    assert "class=nan" not in source
    assert "colour scale from 0 to 0.2'" in source


def test_an_entropy_of_zero_is_a_value_and_not_masked():
    dataset = ats.AttentionMaps.from_arrays({"site": np.full((2, 1, 3, 3), 1 / 3)}).dataset("site")
    dataset = xr.Dataset({"entropy": (("sample", "head", "query"), np.zeros((2, 1, 3)))}, attrs=dataset.attrs)
    means = mean_maps(dataset, "entropy")
    assert means.values.tolist() == [[[0.0, 0.0, 0.0]]]
    assert not means.masked.any()


def test_a_padded_query_counts_for_nothing_and_weight_on_padded_keys_is_shown(rng):
    scores = softmax(rng.normal(size=(3, 1, 5, 5)))
    dataset = ats.AttentionMaps.from_arrays({"site": scores}).dataset("site")
    valid = np.ones((3, 5), bool)
    valid[0, 4] = valid[1, 3:] = False
    dataset = dataset.assign_coords(query_valid=(("sample", "query"), valid), key_valid=(("sample", "key"), valid))
    means = mean_maps(dataset, "scores")
    np.testing.assert_allclose(means.values[0, 4], scores[2, 0, 4], rtol=1e-12)
    np.testing.assert_allclose(means.values[0, 3], (scores[0, 0, 3] + scores[2, 0, 3]) / 2, rtol=1e-12)
    assert (means.values[0, :, 4] > 0).all()


def test_means_do_not_depend_on_how_many_samples_are_read_at_a_time(rng, monkeypatch):
    dataset = ats.AttentionMaps.from_arrays({"site": causal(rng)}).dataset("site")
    whole = mean_maps(dataset, "scores")
    monkeypatch.setattr("attnscope.pages._means.CHUNK_BYTES", 1)
    parts = mean_maps(dataset, "scores")
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)
    assert (parts.masked == whole.masked).all()


def pixels(uri):
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    columns, rows = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    length = struct.unpack(">I", data[start - 4 : start])[0]
    raw = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8)
    return raw.reshape(rows, 1 + 3 * columns)[:, 1:].reshape(rows, columns, 3)


def test_a_large_map_is_pooled_into_a_picture_and_says_so(rng):
    scores = softmax(rng.normal(size=(2, 1, 130, 67)))
    source = report(ats.AttentionMaps.from_arrays({"site": scores}))
    mean = scores.mean(0)[0]
    pooled = np.array([[mean[r : r + 3, c : c + 2].mean() for c in range(0, 67, 2)] for r in range(0, 130, 3)])
    image = pixels(re.search(r"src='([^']*)'", source)[1])
    table = colours.ramp()
    end = rounded_up(pooled.max())
    expected = table[np.round(pooled / end * 255).astype(int)]
    assert image.shape == (44, 34, 3)
    assert (image == expected).all()
    assert "one dot is the mean of 3 by 2 cells" in source
    assert f"colour scale from 0 to {end:g}'" in source


def test_a_block_is_masked_only_where_all_of_it_is():
    values = np.array([[0.2, np.nan] * 50] * 3)
    masked, nans = np.isnan(values), np.zeros(values.shape, int)
    masked[:, :2], values[:, :2] = True, np.nan
    means, hidden, size = blocks(values, masked, nans)
    assert size == (1, 2)
    assert hidden[:, 0].all()
    assert not hidden[:, 1:].any()
    np.testing.assert_allclose(means[:, 1:], 0.2)


def test_pages_with_many_cells_stay_small(rng):
    maps = ats.AttentionMaps.from_arrays([softmax(rng.normal(size=(1, 12, 60, 60))) for _ in range(3)])
    source = report(maps)
    assert len(source) < 3_000_000
    assert source.count("<picture>") == 36


def lightness_of(table):
    """CIE 1976 L*, which the ramps are not built from, as a judge of their evenness."""
    light = np.array([colours.luminance(colour) for colour in table])
    return np.where(light > 0.008856, 116 * np.cbrt(light) - 16, 903.3 * light)


@pytest.mark.parametrize("name", colours.RAMPS)
def test_a_ramp_rises_evenly_in_lightness(name):
    lightness = lightness_of(colours.ramp(name))
    assert lightness.shape == (256,)
    assert (np.diff(lightness) < 0.2).all()
    assert np.corrcoef(lightness, np.arange(256))[0, 1] < -0.998


@pytest.mark.parametrize("dark", [False, True])
def test_the_arms_of_the_diverging_ramp_are_equally_strong(dark):
    lightness = lightness_of(colours.diverging(dark=dark))
    np.testing.assert_allclose(lightness, lightness[::-1], atol=3.0)
    assert (np.diff(lightness[:128]) * (1 if not dark else -1) > -0.4).all()


def test_the_ramp_carries_readable_ink():
    rules = re.findall(r"\.v\d+\{fill:(#\w+);background-color:#\w+;color:(#\w+)\}", colours.ramp_css())
    assert len(rules) == 512
    assert min(colours.contrast(*(np.frombuffer(bytes.fromhex(c[1:]), np.uint8) for c in pair)) for pair in rules) > 4.5


def test_findings_and_their_mends_are_on_the_page():
    maps = ats.AttentionMaps.from_arrays({"site": np.full((3, 2, 5, 5), 0.2)})
    text = Page(report(maps)).text
    assert maps.findings
    for finding in maps.findings:
        assert finding.message in text
        assert finding.mend in text


def test_findings_that_differ_only_in_their_sites_are_one_on_the_page():
    maps = ats.AttentionMaps.from_arrays({f"layer_{n}": np.full((3, 2, 5, 5), 0.2) for n in range(12)})
    text = Page(report(maps)).text
    assert len(maps.findings) == 12
    assert "Lint: 1 finding" in text
    assert text.count(maps.findings[0].message) == 1
    assert ", ".join(f"layer {n}" for n in range(12)) in text


def test_the_page_says_that_attention_is_no_explanation(rng):
    text = Page(report(ats.AttentionMaps.from_arrays({"site": causal(rng)}))).text
    assert "Attention shows where the model looks, not why it decides as it does." in text


def test_a_site_that_pools_shows_its_samples_token_by_token():
    scores = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    maps = ats.AttentionMaps.from_arrays(
        {"site": scores}, dims=("sample", "key"), labels=[["a", "b", "\n", ""], ["w", "x", "y", "z"]]
    )
    source = report(maps, predictions=["first word", "<second>"])
    assert 'title="position 0, \u2068a\u2069: 0.5"' in source
    assert "position 2, \u2068⏎\u2069: 0.2" in source
    assert f'<span class="token v{round(0.4 / 0.5 * 255)}" title="position 3, \u2068z\u2069: 0.4"' in source
    assert "&lt;second&gt;" in source


def test_several_outputs_stand_beside_the_samples_by_their_names():
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    maps = ats.AttentionMaps.from_arrays({"site": scores}, dims=("sample", "key"))
    stages = np.array([[0.1, 0.2, 0.6, 0.1, 0.0], [0.7, 0.1, 0.1, 0.1, 0.0]])
    maps.outputs = {
        "risk": xr.DataArray([[0.25], [0.75]], dims=("sample", "output_dim_1")),
        "stage": xr.DataArray(stages, dims=("sample", "output_dim_1")),
    }
    source = report(maps)
    assert f"risk: {number(0.25)}; stage: 5 numbers, the largest at 2: {number(0.6)}" in source
    assert f"risk: {number(0.75)}; stage: 5 numbers, the largest at 0: {number(0.7)}" in source


def answered(outputs, samples=3, **coords):
    scores = np.full((samples, 2), 0.5)
    maps = ats.AttentionMaps.from_arrays({"site": scores}, dims=("sample", "key"))
    ids = {"sample_id": ("sample", coords["ids"])} if coords else {}
    return ats.AttentionMaps({"site": maps.dataset("site").assign_coords(ids)}, outputs=outputs)


def test_what_the_model_says_is_listed_with_its_classes_and_counted():
    columns = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    maps = answered(xr.DataArray(columns, dims=("sample", "class")), ids=["P-1", "<i>P-2</i>", "P-3"])
    text = Page(report(maps, classes=["benign", "malignant", "<b>none</b>"])).text
    assert "What the model saysOf 3: malignant 2, benign 1.P-1 malignant (0.700)<i>P-2</i> benign (0.500)P-3" in text
    few = Page(report(maps, classes=["benign", "malignant", "none"], samples=2)).text
    assert "The first 2 of 3 samples. Of 3: malignant 2, benign 1." in few
    assert "P-3" not in few
    assert f"P-1 {number(0.1)}, {number(0.7)}, {number(0.2)}" in Page(report(maps)).text


def test_what_a_single_column_is_comes_from_the_model_and_not_from_its_numbers(rng, tmp_path):
    inputs = keras.Input((4, 2))
    pooled = keras.layers.MultiHeadAttention(1, 2)(inputs, inputs)[:, 0]
    logit = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    logit.layers[-1].set_weights([np.zeros((2, 1)), np.array([0.25])])
    logit.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    x = rng.normal(size=(2, 4, 2))
    maps = ats.capture(logit, x, progress=False)
    assert maps.outputs.attrs["units"] == "logit"
    maps.save(tmp_path / "run.zarr")
    stored = ats.capture(logit, x, store=tmp_path / "stored.zarr", progress=False)
    for each in (maps, ats.open(tmp_path / "run.zarr"), stored):
        assert "Of 2: yes 2.0 yes (0.250)1 yes (0.250)" in Page(report(each, classes=["no", "yes"])).text


def test_of_numbers_that_are_nan_no_class_is_said():
    columns = np.array([[0.1, 0.9], [np.nan, 0.3], [np.nan, np.nan]])
    text = Page(report(answered(xr.DataArray(columns, dims=("sample", "class"))), classes=["no", "yes"])).text
    assert "Of 3: yes 1, NaN 2.0 yes (0.900)1 NaN2 NaN" in text
    single = answered(xr.DataArray([0.75, np.nan, 0.25], dims="sample"))
    assert "Of 3: no 1, yes 1, NaN 1.0 yes (0.750)1 NaN2 no (0.750)" in Page(report(single, classes=["no", "yes"])).text


def test_a_single_column_decides_between_two_classes():
    for values, said in (
        ([0.25, 0.5, 0.875], "0 no (0.750)1 no (0.500)2 yes (0.875)"),
        ([-2.0, 0.5, 0.25], "0 no (2.00)1 yes (0.500)2 yes (0.250)"),
    ):
        for outputs in (xr.DataArray(values, dims="sample"), xr.DataArray(np.c_[values], dims=("sample", "class"))):
            assert said in Page(report(answered(outputs), classes=["no", "yes"])).text
    risk, hours = xr.DataArray([0.25, 0.5, 0.75], dims="sample"), xr.DataArray(np.eye(3), dims=("sample", "hour"))
    two = {"risk": risk, "hours": hours}
    assert "0 risk: no (0.750); hours: 1.00, 0.00, 0.00" in Page(report(answered(two), classes=["no", "yes"])).text
    with pytest.raises(InputError) as raised:
        report(answered(xr.DataArray([0.25, 0.5, 0.75], dims="sample")), classes=["a", "b", "c"])
    assert str(raised.value) == (
        "3 classes were named, but the outputs have the shapes (3,). Name one class for each column, or two for a "
        "single one: classes=['no', 'yes']."
    )


def test_on_paper_each_sheet_says_what_it_is_about(rng):
    maps = ats.AttentionMaps.from_arrays({"a/b": causal(rng), "</style><b>": causal(rng)})
    source = report(maps, title="}</style>\n\u202eTitle")
    assert r'@top-left{content:"\7d \3c \2f style\3e \23ce \27e8 U\2b 202E\27e9 Title"}' in source
    assert r'@page site-0{@top-right{content:"b"}}#site-0{page:site-0}' in source
    assert r'@page site-1{@top-right{content:"style\3e \3c b\3e "}}#site-1{page:site-1}' in source
    assert source.count("</style>") == 1


def test_padding_without_weight_is_hatched_and_with_weight_is_coloured():
    scores = np.array([[0.6, 0.4, 0.0], [0.5, 0.3, 0.2]])
    dataset = ats.AttentionMaps.from_arrays({"site": scores}, dims=("sample", "key")).dataset("site")
    valid = np.array([[True, True, False], [True, True, False]])
    maps = ats.AttentionMaps({"site": dataset.assign_coords(key_valid=(("sample", "key"), valid))})
    source = report(maps)
    assert source.count("position 2: padding, 0") == 1
    assert "position 2, \u20682\u2069: 0.2, padding" in source


def test_bars_show_what_each_group_attends_to(rng):
    scores = causal(rng)
    maps = ats.AttentionMaps.from_arrays({"site": scores}, labels=list("abcdefg"))
    groups = ["ill", "well", "ill", "well", "well"]
    means = received_per_group(maps.dataset("site"), groups)
    assert means["group"].values.tolist() == ["ill", "well"]
    for key in range(7):
        values = [scores[s, h, q, key] for s in (0, 2) for h in range(2) for q in range(7)]
        assert means.sel(group="ill").values[key] == pytest.approx(sum(values) / len(values), rel=1e-12)
    source = report(maps, groups=groups)
    assert f'title="\u2068ill\u2069: {means.values[0, 0]:.7g}"' in source


def test_received_leaves_padded_queries_out(rng):
    scores = softmax(rng.normal(size=(2, 3, 5, 5)))
    dataset = ats.AttentionMaps.from_arrays({"site": scores}).dataset("site")
    valid = np.array([[True, True, True, False, False], [False] * 5])
    found = received(dataset.assign_coords(query_valid=(("sample", "query"), valid)))
    np.testing.assert_allclose(found.values[0], scores[0][:, :3].mean((0, 1)), rtol=1e-12)
    assert np.isnan(found.values[1]).all()


def test_sections_carry_bars_of_the_callers_own(rng):
    bars = Bars(["a"], ["<last>"], np.array([[0.25]]), "how much")
    source = report(ats.AttentionMaps.from_arrays({"s": causal(rng)}), sections=[Section("t", ["p"], bars)])
    assert "<bdi>&lt;last&gt;</bdi>" in source
    assert "width:100.00%" in source


def test_spatial_attention_is_drawn_with_its_places(rng):
    scores = softmax(rng.normal(size=(2, 3, 6, 6))).reshape(2, 3, 2, 3, 2, 3)
    dims = ("sample", "head", "query_0", "query_1", "key_0", "key_1")
    drawn = cells(report(ats.AttentionMaps.from_arrays({"site": scores}, dims=dims)))
    value = scores[:, 2, 1, 0, 0, 2].mean()
    assert f"query \u20681, 0\u2069, key \u20680, 2\u2069: {value:.7g}" in drawn


def test_one_group_per_sample_is_asked_for(rng):
    with pytest.raises(InputError) as caught:
        report(ats.AttentionMaps.from_arrays({"site": causal(rng)}), groups=["a", "b"])
    assert str(caught.value) == (
        "2 groups were given, but the maps hold 5 samples. Give one per sample, in the same order: "
        "report(maps, groups=[...])."
    )


def test_a_page_is_not_overwritten_unless_asked(rng, tmp_path):
    page = report(ats.AttentionMaps.from_arrays({"site": causal(rng)}))
    path = tmp_path / "page.html"
    path.write_text("precious")
    with pytest.raises(WouldOverwriteError) as caught:
        save_report(page, path)
    assert str(caught.value) == (
        f"{str(path)!r} already exists and is not overwritten: save_report(page, path, overwrite=True)."
    )
    assert path.read_text() == "precious"
    save_report(page, path, overwrite=True)
    assert path.read_text("utf-8") == page


def test_the_same_maps_give_the_same_page_in_memory_and_from_disk(rng, tmp_path):
    maps = ats.AttentionMaps.from_arrays({"site": causal(rng)}, labels=list("abcdefg"))
    maps.save(tmp_path / "run.zarr")
    assert report(ats.open(tmp_path / "run.zarr")) == report(maps)


def test_the_report_needs_neither_keras_nor_matplotlib():
    code = (
        "import sys, attnscope.reporting; "
        "print([name for name in ('keras', 'matplotlib', 'tensorflow', 'jax', 'torch') if name in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ranks_of_different_keys_are_not_averaged():
    dims = ("sample", "query", "rank")
    maps = ats.AttentionMaps.from_arrays({"mha": np.full((2, 3, 5), 0.2)}, dims=("sample", "query", "key"))
    ranked = maps.dataset("mha").assign(top_scores=(dims, np.full((2, 3, 2), 0.2)), top_keys=(dims, np.ones((2, 3, 2))))
    page = report(ats.AttentionMaps({"mha": ranked}))
    assert "Mean scores" in page
    assert "Mean top_" not in page
    assert "top_scores and top_keys are in the data but not drawn" in page


def test_sites_have_short_names_beside_their_paths(rng):
    paths = [f"a_model/block_{layer}/attention" for layer in range(2)]
    source = report(ats.AttentionMaps.from_arrays({path: causal(rng) for path in paths}))
    for place, path in enumerate(paths):
        assert f"<a href='#site-{place}'>layer {place}</a><code>{path}</code>" in source
        assert f"id='site-{place}'><h2>layer {place}</h2><p class=small><code>{path}</code>" in source


@pytest.mark.parametrize(
    ("what", "shape"), [("keys", (2, 3, 5, 0)), ("queries", (2, 3, 0, 5)), ("samples", (0, 3, 5, 5))]
)
def test_a_report_of_maps_without_anything_says_so(what, shape):
    page = report(ats.AttentionMaps.from_arrays({"mha": np.zeros(shape, "float32")}))
    assert f"<p>There is nothing to see: it has no {what}.</p>" in page
