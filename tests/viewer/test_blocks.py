"""The viewer's blocks, read back by their written layout."""

import json

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.errors import InputError, SchemaError
from viewer_blocks import EXACT, MASKED, ODD, read_map, read_thumbnails

HALF = 6e-8
"""The smallest float16: the scale of a row is one."""


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return (raised / raised.sum(-1, keepdims=True)).astype("float32")


def payload_of(arrays, dims=("sample", "head", "query", "key"), **options):
    return ats.view(ats.AttentionMaps.from_arrays(arrays, dims=dims), **options).payload


@pytest.mark.parametrize("max_error", [0.001, 0.002])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 3.0, 9.0])
def test_every_weight_is_within_the_promised_error_and_within_its_own_bound(rng, spread, max_error):
    scores = softmax(rng.normal(size=(1, 2, 37, 211)) * spread)
    payload = payload_of({"site": scores}, max_error=max_error)
    for head in range(2):
        found = read_map(payload.block(f"map/0/0/{head}"))
        error = np.abs(found.values - scores[0, head])
        assert error.max() <= max_error
        coded = found.codes != EXACT
        assert (error[coded] <= found.bounds[coded] * 1.01 + HALF).all()


def test_the_eight_strongest_weights_of_every_row_are_exact(rng):
    scores = softmax(rng.normal(size=(1, 1, 29, 101)) * 2)
    found = read_map(payload_of({"site": scores}).block("map/0/0/0"))
    for row in range(29):
        strongest = sorted(range(101), key=lambda key: -scores[0, 0, row, key])[:8]
        assert set(np.flatnonzero(found.codes[row] == EXACT)) == set(strongest)
        for key in strongest:
            assert found.values[row, key] == np.float16(scores[0, 0, row, key])


def test_zero_is_zero_and_the_smallest_weight_is_not():
    row = np.zeros(40, "float32")
    row[:12] = np.linspace(0.12, 0.04, 12)
    row[12] = 1e-30
    found = read_map(payload_of({"site": row.reshape(1, 1, 1, 40)}).block("map/0/0/0"))
    assert found.codes[0, 12] == 1
    assert (found.codes[0, 13:] == 0).all()


def test_padding_without_weight_is_masked_and_with_weight_is_a_value(rng):
    scores = softmax(rng.normal(size=(1, 2, 5, 11)))
    scores[..., 9] = 0
    dataset = ats.AttentionMaps.from_arrays({"site": scores}).dataset("site")
    valid = np.ones((1, 11), bool)
    valid[0, 9:] = False
    maps = ats.AttentionMaps({"site": dataset.assign_coords(key_valid=(("sample", "key"), valid))})
    payload = ats.view(maps).payload
    found = read_map(payload.block("map/0/0/1"))
    assert (found.codes[:, 9] == MASKED).all()
    np.testing.assert_allclose(found.values[:, 10], scores[0, 1, :, 10], atol=0.001)
    assert payload.manifest["tokens"][payload.manifest["axes"][0][0][1]]["invalid"] == (9, 10)


def test_what_a_causal_model_cannot_see_is_masked_and_a_one_hot_map_is_not(rng):
    causal = softmax(np.where(np.tri(7, dtype=bool), rng.normal(size=(1, 2, 7, 7)), -np.inf))
    one_hot = np.eye(7, dtype="float32").reshape(1, 1, 7, 7)
    payload = payload_of({"causal": causal, "one_hot": one_hot})
    assert ((read_map(payload.block("map/0/0/1")).codes == MASKED) == ~np.tri(7, dtype=bool)).all()
    sites = [site["name"] for site in payload.manifest["sites"]]
    found = read_map(payload.block(f"map/0/{sites.index('one_hot')}/0"))
    assert (found.codes == np.where(np.eye(7), EXACT, 0)).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.3, 1e6])
def test_what_is_no_weight_is_listed_with_its_value_and_changes_no_other(rng, wrong):
    scores = softmax(rng.normal(size=(1, 1, 13, 19)))
    given = scores.copy()
    given[0, 0, 4, 7] = wrong
    payload = payload_of({"site": given})
    found = read_map(payload.block("map/0/0/0"))
    assert np.argwhere(found.codes == ODD).tolist() == [[4, 7]]
    assert list(found.odd) == [(4, 7)]
    np.testing.assert_equal(found.odd[4, 7], np.float32(wrong))
    rest = np.arange(13 * 19).reshape(13, 19) != 4 * 19 + 7
    assert np.abs(found.values - scores[0, 0])[rest].max() <= 0.001
    assert np.isnan(found.received[7])
    [(values, codes)] = read_thumbnails(payload.block("thumbnails/0"), [(13, 19)])
    assert np.argwhere(codes == ODD).tolist() == [[4, 7]]
    assert np.nanmax(values) == pytest.approx(np.delete(given.ravel(), 4 * 19 + 7).max(), rel=1e-6)


def test_weights_above_one_are_shown_with_their_own_bound(rng):
    scores = rng.uniform(0, 40, size=(1, 1, 3, 300)).astype("float32")
    found = read_map(payload_of({"site": scores}).block("map/0/0/0"))
    coded = found.codes < EXACT
    error = np.abs(found.values - scores[0, 0])
    assert (error[coded] <= found.bounds[coded] * 1.01).all()
    assert error.max() < 0.2


def test_what_a_key_receives_is_exact_and_leaves_padded_queries_out(rng):
    scores = softmax(rng.normal(size=(2, 1, 9, 14)) * 3)
    dataset = ats.AttentionMaps.from_arrays({"site": scores}).dataset("site")
    valid = np.ones((2, 9), bool)
    valid[1, 5:] = False
    maps = ats.AttentionMaps({"site": dataset.assign_coords(query_valid=(("sample", "query"), valid))})
    found = read_map(ats.view(maps).payload.block("map/1/0/0"))
    for key in range(14):
        mean = sum(float(scores[1, 0, query, key]) for query in range(5)) / 5
        assert found.received[key] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 2000), (130, 67), (64, 65), (2, 3)])
def test_a_thumbnail_cell_is_the_largest_weight_of_its_block(rng, rows, columns):
    scores = softmax(rng.normal(size=(1, 2, rows, columns)) * 2)
    thumbnails = read_thumbnails(payload_of({"site": scores}).block("thumbnails/0"), [(rows, columns)] * 2)
    high, wide = -(-rows // 64), -(-columns // 64)
    for head, (values, _) in enumerate(thumbnails):
        largest = scores[0, head].max()
        for row in range(values.shape[0]):
            for column in range(values.shape[1]):
                part = scores[0, head, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
                assert values[row, column] == pytest.approx(float(part.max()), abs=float(largest) * 0.016)
        assert np.isclose(values.max(), largest)


def test_a_pooled_map_keeps_maxima_of_blocks_and_the_strongest_keys_of_every_row(rng):
    scores = softmax(rng.normal(size=(1, 1, 600, 700)) * 4)
    payload = payload_of({"site": scores})
    found = read_map(type(payload)(payload.runs, payload.samples, "", detail="pooled").block("map/0/0/0"))
    assert found.pool == (3, 3)
    assert found.values.shape == (200, 234)
    for row, column in [(0, 0), (17, 100), (199, 233)]:
        part = scores[0, 0, row * 3 : row * 3 + 3, column * 3 : column * 3 + 3]
        assert abs(found.values[row, column] - part.max()) <= found.bounds[row, column] * 1.01
    for row in (0, 77, 599):
        strongest = sorted(range(700), key=lambda key: -scores[0, 0, row, key])[:8]
        assert [int(key) for key, _ in found.tops[row]] == strongest
        assert [weight for _, weight in found.tops[row]] == [np.float16(scores[0, 0, row, key]) for key in strongest]


def test_axes_beside_heads_become_panels_with_their_names(rng):
    scores = softmax(rng.normal(size=(2, 3, 2, 5, 7)))
    payload = payload_of({"swin": scores}, dims=("sample", "window", "head", "query", "key"))
    names = payload.manifest["sites"][0]["panels"]
    assert names[:3] == ["window 0, head 0", "window 0, head 1", "window 1, head 0"]
    found = read_map(payload.block("map/1/0/5"))
    np.testing.assert_allclose(found.values, scores[1, 2, 1], atol=0.001)


def test_spatial_attention_has_a_grid_of_places(rng):
    scores = softmax(rng.normal(size=(1, 2, 6, 6))).reshape(1, 2, 2, 3, 2, 3)
    payload = payload_of({"site": scores}, dims=("sample", "head", "query_0", "query_1", "key_0", "key_1"))
    tokens = payload.manifest["tokens"][payload.manifest["axes"][0][0][1]]
    assert tokens["grid"] == (2, 3, 0)
    assert tokens["labels"][4] == "1, 1"
    np.testing.assert_allclose(read_map(payload.block("map/0/0/1")).values, scores[0, 1].reshape(6, 6), atol=0.001)


def test_a_site_that_pools_is_one_row(rng):
    scores = softmax(rng.normal(size=(3, 9)))
    payload = payload_of({"pool": scores}, dims=("sample", "key"))
    assert payload.manifest["sites"][0]["role"] == "pool"
    np.testing.assert_allclose(read_map(payload.block("map/2/0/0")).values[0], scores[2], atol=0.001)


def test_a_pair_of_sentences_has_two_segments_and_padding_makes_none(rng):
    labels = ["[CLS]", "one", "[SEP]", "two", "three", "[SEP]", "[PAD]"]
    dataset = ats.AttentionMaps.from_arrays({"site": softmax(rng.normal(size=(1, 1, 7, 7)))}, labels=labels).dataset(
        "site"
    )
    valid = np.array([[True] * 6 + [False]])
    maps = ats.AttentionMaps({"site": dataset.assign_coords(key_valid=(("sample", "key"), valid))})
    manifest = ats.view(maps).payload.manifest
    assert manifest["tokens"][manifest["axes"][0][0][1]]["segments"] == [0, 3]


def test_a_chain_of_self_attention_has_its_rollout(rng):
    arrays = [softmax(rng.normal(size=(2, 3, 6, 6))) for _ in range(4)]
    maps = ats.AttentionMaps.from_arrays(arrays, roles={"*": ("text", "text")})
    payload = ats.view(maps).payload
    site = payload.manifest["sites"][4]
    assert (site["name"], site["role"], len(site["panels"])) == ("rollout", "rollout", 4)
    expected = ats.analysis.rollout(maps)
    for layer in range(4):
        found = read_map(payload.block(f"map/1/4/{layer}")).values
        np.testing.assert_allclose(found, expected.isel(sample=1, layer=layer), atol=0.001)


def test_an_output_that_is_the_same_for_all_samples_is_said_of_none(rng):
    maps = ats.AttentionMaps.from_arrays({"site": softmax(rng.normal(size=(2, 1, 3, 3)))})
    fixed = xr.DataArray(np.eye(2), dims=("output_dim_0", "output_dim_1"))
    maps.outputs = {"risk": xr.DataArray([[0.25], [0.5]], dims=("sample", "output_dim_1")), "table": fixed}
    assert [sample["runs"][0]["output"] for sample in ats.view(maps).payload.manifest["samples"]] == [
        "risk: 0.250",
        "risk: 0.500",
    ]
    maps.outputs = {"table": fixed}
    assert ats.view(maps).payload.manifest["samples"][0]["runs"][0]["output"] is None


def test_whether_a_site_attends_across_is_not_decided_by_how_many_queries_and_keys_it_has(rng):
    sizes = {"block_0/self": (5, 5), "block_0/other": (5, 7), "encoder/x": (5, 5), "block_1/self": (5, 5)}
    arrays = {name: softmax(rng.normal(size=(1, 2, *shape))) for name, shape in sizes.items()}

    def kinds(**roles):
        manifest = ats.view(ats.AttentionMaps.from_arrays(arrays, **roles)).payload.manifest
        return [(site["role"], site["told_by"]) for site in manifest["sites"]], manifest["notes"]

    assert kinds() == (
        [("unknown", ""), ("unknown", ""), ("encoder", ""), ("unknown", "")],
        [
            "Nothing says whether 4 sites are self- or cross-attention, so that no rollout has them. "
            'Declare it: ats.AttentionMaps.from_arrays(arrays, roles={"*": ("text", "text")}).'
        ],
    )
    roles = {"*": ("text", "text"), "*other": ("text", "picture")}
    known = [("self", "lineage"), ("cross", "lineage"), ("encoder", "lineage"), ("self", "lineage")]
    assert kinds(roles=roles) == ([*known, ("rollout", "lineage")], [])


def test_runs_stand_side_by_side_and_may_have_other_lengths(rng):
    before = ats.AttentionMaps.from_arrays({"mha": softmax(rng.normal(size=(3, 2, 5, 5)))})
    after = ats.AttentionMaps.from_arrays({"mha": softmax(rng.normal(size=(2, 2, 5, 5)))})
    payload = ats.view({"before": before, "after": after}).payload
    assert payload.manifest["runs"] == ["before", "after"]
    assert [site["run"] for site in payload.manifest["sites"]] == [0, 1]
    assert payload.manifest["axes"][2] == [payload.manifest["axes"][0][0], None]
    with pytest.raises(KeyError):
        payload.block("map/2/1/0")


def test_each_run_says_its_own_output_input_and_label(rng):
    def run(name, samples, outputs):
        sites = ats.AttentionMaps.from_arrays({f"{name}/mha": softmax(rng.normal(size=(samples, 2, 5, 5)))})
        datasets = {site: sites.dataset(site) for site in sites}
        named = {"outputs": xr.DataArray(outputs, dims=("sample", "unit")), "attrs": {"model": name, "backend": "jax"}}
        return ats.AttentionMaps(datasets, **named).with_inputs([f"text {n}" for n in range(samples)])

    runs = {"before": run("one", 2, [[0.25], [0.5]]), "after": run("other", 1, [[0.75]])}
    manifest = ats.view(runs, labels={"before": ["cat", "dog"]}).payload.manifest
    assert [sample["runs"] for sample in manifest["samples"]] == [
        [
            {"input": "text 0", "output": "0.250", "label": "cat"},
            {"input": "text 0", "output": "0.750", "label": None},
        ],
        [{"input": "text 1", "output": "0.500", "label": "dog"}, {"input": None, "output": None, "label": None}],
    ]
    assert manifest["about"] == "before: model one · jax; after: model other · jax"
    assert [(site["name"], site["short"]) for site in manifest["sites"]] == [("one/mha", "mha"), ("other/mha", "mha")]
    shared = ats.view(runs, labels=["x", "y"]).payload.manifest["samples"]
    assert [[run["label"] for run in sample["runs"]] for sample in shared] == [["x", "x"], ["y", None]]


def test_findings_name_their_run_and_their_sites_shortly(rng):
    arrays = {f"block_{n}/mha": np.full((2, 1, 5, 5), 0.2, "float32") for n in range(2)}
    even = ats.AttentionMaps.from_arrays(arrays, roles={"*": ("text", "text")})
    other = ats.AttentionMaps.from_arrays({"mha": softmax(rng.normal(size=(2, 1, 5, 5)))})
    [alone] = ats.view(even).payload.manifest["notes"]
    assert (alone[:9], alone[-19:]) == ("2 sites: ", " (layer 0, layer 1)")
    assert ats.view({"a": even, "b": other}).payload.manifest["notes"] == [f"a: {alone}"]
    assert ats.view({"a": even, "b": even}).payload.manifest["notes"] == [f"a and b: {alone}"]


def units_of(maps, **options):
    [site] = ats.view(maps, **options).payload.manifest["sites"]
    return site["units"]["query"], site["units"]["key"]


def test_positions_are_called_what_the_capture_says_or_else_what_their_labels_show(rng):
    scores = softmax(rng.normal(size=(2, 1, 7, 7)))
    plain = ats.AttentionMaps.from_arrays({"site": scores})
    dataset = plain.dataset("site")
    kinds = json.dumps({"query": "steps", "key": "features"})
    assert units_of(ats.AttentionMaps({"site": dataset.assign_attrs(positions=kinds)})) == ("steps", "features")
    assert units_of(plain) == units_of(ats.AttentionMaps.from_arrays({"site": scores}, labels=[*"abcdef", "<sink>"]))
    assert units_of(plain) == ("positions", "positions")
    tokens = ats.AttentionMaps.from_arrays({"site": scores}, labels=["[CLS]", *"abcdef"])
    assert units_of(tokens) == ("tokens", "tokens")
    patches = ats.AttentionMaps.from_arrays({"site": scores}, labels=ats.labels.patches(2, 3, prefix=["[CLS]"]))
    assert units_of(patches) == units_of(plain, grid=(2, 3)) == ("patches", "patches")


def test_the_only_query_of_a_pooling_is_called_like_its_keys(rng):
    labels = ["[CLS]", *"abcdefgh"]
    maps = ats.AttentionMaps.from_arrays({"p": softmax(rng.normal(size=(3, 9)))}, dims=("sample", "key"), labels=labels)
    assert units_of(maps) == ("tokens", "tokens")


@pytest.mark.parametrize(
    "name", ["", "map", "map/0/0/2", "map/-1/0/0", "map/0/0/²", "thumbnails/9", "image/0", "../x/1", "map/0/0/0/0"]
)
def test_a_block_that_is_not_there_is_said_to_be_so(rng, name):
    payload = payload_of({"site": softmax(rng.normal(size=(1, 2, 5, 5)))})
    with pytest.raises(KeyError) as caught:
        payload.block(name)
    assert str(caught.value) == repr(f"There is no block {name!r}.")


def test_every_named_block_is_there(rng):
    pictures = rng.integers(0, 255, (2, 8, 12, 3)).astype("uint8")
    payload = payload_of({"a": softmax(rng.normal(size=(2, 2, 6, 6)))}, images=pictures, grid=(2, 3))
    names = list(payload.names())
    assert names == [
        "thumbnails/0",
        "thumbnails/1",
        "image/0",
        "image/1",
        *(f"map/{s}/0/{h}" for s in (0, 1) for h in (0, 1)),
    ]
    assert all(payload.block(name) for name in names)
    assert payload.manifest["samples"][0]["image"] == {"width": 12, "height": 8, "rows": 2, "columns": 3, "first": 0}


REFUSED = {
    "sample": (
        lambda maps: ats.view(maps, samples=[5]),
        "The samples [5] were requested, but there are 2, numbered from 0. Choose among them: samples=range(2).",
    ),
    "labels": (
        lambda maps: ats.view(maps, labels=["a"]),
        "1 labels were given, but the maps hold 2 samples. Give one per sample of the maps: "
        "ats.view(maps, labels=[...]).",
    ),
    "labels of a run that does not exist": (
        lambda maps: ats.view({"before": maps, "after": maps}, labels={"afer": ["a", "b"]}),
        "Labels were given for the run 'afer', but the runs are 'before', 'after'. Give one label per sample: "
        "ats.view(maps, labels={'before': [...]}).",
    ),
    "labels by run of one run": (
        lambda maps: ats.view(maps, labels={"before": ["a", "b"]}),
        "Labels were given for the run 'before', but the maps are of one run. Give one label per sample: "
        "ats.view(maps, labels=[...]).",
    ),
    "labels of one run": (
        lambda maps: ats.view({"before": maps}, labels={"before": ["a"]}),
        "1 labels were given, but the maps hold 2 samples. Give one per sample of the maps: "
        "ats.view(maps, labels=[...]).",
    ),
    "error": (
        lambda maps: ats.view(maps, max_error=0),
        "max_error is 0, but a number between 0 and 1 is needed, such as 0.001.",
    ),
    "no sites": (
        lambda maps: ats.view(ats.AttentionMaps({})),
        "The maps have no sites, or no samples, but at least one of each is needed to show anything: "
        "ats.view(ats.capture(model, inputs)).",
    ),
    "no samples": (
        lambda maps: ats.view(ats.AttentionMaps.from_arrays({"a": np.ones((0, 1, 2, 2))})),
        "The maps have no sites, or no samples, but at least one of each is needed to show anything: "
        "ats.view(ats.capture(model, inputs)).",
    ),
    "no maps": (
        lambda maps: ats.view({"a": np.ones((2, 2))}),
        "The maps are an ndarray, but captured maps are needed: ats.view(ats.capture(model, inputs)). For arrays "
        "from elsewhere: ats.view(ats.AttentionMaps.from_arrays({'layer_0': array})).",
    ),
    "no picture": (
        lambda maps: ats.view(maps, images=np.zeros((2, 5))).payload.block("image/0"),
        "An image has the shape (5,), but (height, width), or (height, width, channels) with 1, 3 or 4 channels is "
        "needed. For channels in front: np.moveaxis(images, 1, -1).",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_viewed_is_said(rng, case):
    call, expected = REFUSED[case]
    maps = ats.AttentionMaps.from_arrays({"site": softmax(rng.normal(size=(2, 1, 3, 3)))})
    with pytest.raises((InputError, SchemaError)) as caught:
        call(maps)
    assert str(caught.value) == expected
