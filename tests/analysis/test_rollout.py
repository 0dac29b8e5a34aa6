"""Rollout against closed forms and a slow loop."""

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.errors import InputError, SchemaError


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_uniform_attention_through_layers_has_its_closed_form(layers):
    size = 7
    maps = ats.AttentionMaps.from_arrays([np.full((1, 3, size, size), 1 / size)] * layers)
    expected = 2.0**-layers * np.eye(size) + (1 - 2.0**-layers) / size
    np.testing.assert_allclose(ats.analysis.rollout(maps).isel(sample=0, layer=-1), expected, rtol=1e-12)


def test_identity_stays_identity():
    maps = ats.AttentionMaps.from_arrays([np.eye(5).reshape(1, 1, 5, 5)] * 4)
    np.testing.assert_allclose(ats.analysis.rollout(maps).isel(sample=0, layer=-1), np.eye(5), rtol=1e-12)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.3])
def test_it_agrees_with_plain_loops_and_rows_sum_to_one(rng, fusion, discard):
    samples, heads, size, residual = 2, 3, 5, 0.4
    arrays = [softmax(rng.normal(size=(samples, heads, size, size))) for _ in range(3)]
    found = ats.analysis.rollout(
        ats.AttentionMaps.from_arrays(arrays), residual=residual, fusion=fusion, discard=discard
    )
    assert found.dims == ("layer", "sample", "query", "key")
    for sample in range(samples):
        carried = np.eye(size)
        for layer, array in enumerate(arrays):
            fused = np.zeros((size, size))
            for q in range(size):
                for k in range(size):
                    values = [float(array[sample, h, q, k]) for h in range(heads)]
                    fused[q, k] = {"mean": sum(values) / heads, "max": max(values), "min": min(values)}[fusion]
            if discard:
                fused[fused < np.quantile(fused, discard)] = 0
            mixed = np.zeros((size, size))
            for q in range(size):
                total = sum(fused[q])
                for k in range(size):
                    mixed[q, k] = (1 - residual) * fused[q, k] / total + residual * (q == k)
            carried = np.array(
                [[sum(mixed[q, m] * carried[m, k] for m in range(size)) for k in range(size)] for q in range(size)]
            )
            np.testing.assert_allclose(found.isel(sample=sample, layer=layer), carried, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.sum("key"), 1, rtol=1e-9)


def test_a_query_that_attends_to_nothing_keeps_itself():
    scores = np.full((1, 1, 3, 3), 1 / 3)
    scores[0, 0, 2] = 0
    found = ats.analysis.rollout(ats.AttentionMaps.from_arrays([scores] * 2))
    assert found.isel(sample=0, layer=-1).values[2].tolist() == [0, 0, 1]


def test_sites_that_are_no_chain_are_refused(rng):
    maps = ats.AttentionMaps.from_arrays(
        {"a": softmax(rng.normal(size=(1, 2, 3, 3))), "b": softmax(rng.normal(size=(1, 2, 5, 5)))}
    )
    with pytest.raises(SchemaError) as caught:
        ats.analysis.rollout(maps)
    assert str(caught.value) == (
        "The chain ['a', 'b'] has 2 different sizes (samples, positions): [(1, 3), (1, 5)], but a rollout needs maps "
        "of the same size. Name the sites that belong together: rollout(maps, sites=[...])."
    )
    cross = ats.AttentionMaps.from_arrays({"x": softmax(rng.normal(size=(1, 2, 3, 4)))})
    with pytest.raises(SchemaError) as caught:
        ats.analysis.rollout(cross)
    assert str(caught.value) == (
        "The site 'x' has dims ('sample', 'head', 'query', 'key') with shape (1, 2, 3, 4), but a rollout needs "
        "self-attention: ('sample', 'head', 'query', 'key') with as many queries as keys. Leave this site out: "
        "rollout(maps, sites=[...])."
    )


def test_labels_stay_with_their_axes(rng):
    maps = ats.AttentionMaps.from_arrays([softmax(rng.normal(size=(1, 2, 3, 3)))] * 2, labels=list("abc"))
    found = ats.analysis.rollout(maps)
    assert isinstance(found, xr.DataArray)
    assert found["key_label"].values.tolist() == list("abc")
    assert found["layer_site"].values.tolist() == ["layer_0", "layer_1"]


@pytest.mark.parametrize("fusion", ["max", "min"])
def test_rows_sum_to_1_after_fusing_so_uniform_heads_fuse_to_themselves(rng, fusion):
    arrays = [softmax(rng.normal(size=(2, 3, 5, 5))) for _ in range(2)]
    fused = [{"max": array.max(1), "min": array.min(1)}[fusion] for array in arrays]
    fused = [array / array.sum(-1, keepdims=True) for array in fused]
    single = ats.AttentionMaps.from_arrays([array[:, None] for array in fused])
    found = ats.analysis.rollout(ats.AttentionMaps.from_arrays(arrays), fusion=fusion)
    np.testing.assert_allclose(found, ats.analysis.rollout(single), rtol=1e-12)
    expected = np.eye(5)
    for layer in fused:
        expected = (0.5 * layer + 0.5 * np.eye(5)) @ expected
    np.testing.assert_allclose(found[-1], expected, rtol=1e-12)


def test_no_residual_is_the_plain_product_and_all_residual_the_identity(rng):
    arrays = [softmax(rng.normal(size=(1, 1, 5, 5))) for _ in range(3)]
    maps = ats.AttentionMaps.from_arrays(arrays)
    plain = arrays[2][0, 0] @ arrays[1][0, 0] @ arrays[0][0, 0]
    np.testing.assert_allclose(ats.analysis.rollout(maps, residual=0.0)[-1, 0], plain, rtol=1e-12)
    np.testing.assert_array_equal(ats.analysis.rollout(maps, residual=1.0)[-1, 0], np.eye(5))


def test_what_is_discarded_is_a_share_of_the_open_cells():
    """Padding and masked cells are 0 already: counted in, a third of the smallest would be nothing but them."""
    causal = np.zeros((1, 1, 4, 4))
    causal[0, 0, 0, 0] = 1
    causal[0, 0, 1, :2] = 0.9, 0.1
    causal[0, 0, 2, :3] = 0.7, 0.25, 0.05
    causal[0, 0, 3] = [0.25, 0.25, 0.25, 0.25]  # padding
    maps = ats.AttentionMaps.from_arrays({"a": causal})
    valid = np.array([[True, True, True, False]])
    coords = {"query_valid": (("sample", "query"), valid), "key_valid": (("sample", "key"), valid)}
    marked = ats.AttentionMaps({"a": maps.dataset("a").assign_coords(coords)})
    found = ats.analysis.rollout(marked, residual=0.0, discard=0.35)[0, 0].values
    np.testing.assert_allclose(found[:3, :3], [[1, 0, 0], [1, 0, 0], [0.7 / 0.95, 0.25 / 0.95, 0]], rtol=1e-12)


def test_float32_maps_are_multiplied_in_float64(rng):
    arrays = [softmax(rng.normal(size=(1, 2, 7, 7))).astype(np.float32) for _ in range(3)]
    found = ats.analysis.rollout(ats.AttentionMaps.from_arrays(arrays))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum("key"), 1, rtol=1e-12)
    assert found.attrs["method"] == "rollout"
    assert found.attrs["class_specific"] is False


@pytest.mark.parametrize(
    "options", [{"residual": 1.1}, {"discard": 1.0}, {"fusion": "median"}, {"residual": float("nan")}]
)
def test_options_outside_are_refused(rng, options):
    maps = ats.AttentionMaps.from_arrays([softmax(rng.normal(size=(1, 2, 3, 3)))])
    given = {"residual": 0.5, "fusion": "mean", "discard": 0.0} | options
    with pytest.raises(InputError) as caught:
        ats.analysis.rollout(maps, **options)
    assert str(caught.value) == (
        f"residual={given['residual']!r}, fusion={given['fusion']!r} and discard={given['discard']!r} were given, but "
        "a residual within 0 to 1, the fusion 'mean', 'max' or 'min', and a discard within 0 to 1 (exclusive) are "
        "needed: residual=0.5, fusion='mean', discard=0.0."
    )
