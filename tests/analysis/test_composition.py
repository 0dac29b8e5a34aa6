"""Rollout through encoder and decoder, against closed forms and a plain loop."""

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import softmax
from attnscope.errors import InputError, SchemaError

DIMS = ("sample", "head", "query", "key")


def parts(rng, layers=3, samples=2, heads=2, tokens=7, steps=5):
    encoder = [softmax(rng.normal(size=(samples, heads, tokens, tokens))) for _ in range(2)]
    cross = [xr.DataArray(softmax(rng.normal(size=(samples, heads, steps, tokens))), dims=DIMS) for _ in range(layers)]
    causal = np.where(np.tri(steps, dtype=bool), rng.normal(size=(layers, samples, heads, steps, steps)), -np.inf)
    own = [xr.DataArray(softmax(layer), dims=DIMS) for layer in causal]
    return ats.AttentionMaps.from_arrays(encoder), cross, own


@pytest.mark.parametrize("residual", [0.5, 0.3])
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_it_agrees_with_a_loop_over_what_each_position_holds(rng, residual, fusion):
    maps, cross, own = parts(rng)
    encoder = ats.analysis.rollout(maps, residual=residual)
    found = ats.analysis.composition(encoder, cross, own, residual=residual, fusion=fusion)
    assert found.dims == ("sample", "query", "key")
    how = {"mean": np.mean, "max": np.max, "min": np.min}[fusion]
    for sample in range(2):
        carried = encoder.values[-1, sample]
        held = [np.concatenate([np.eye(5)[step], np.zeros(7)]) for step in range(5)]
        for layer in range(3):
            fused = how(own[layer].values[sample], axis=0)
            mixed = [sum(fused[q, k] / sum(fused[q]) * held[k] for k in range(5)) for q in range(5)]
            held = [residual * old + (1 - residual) * new for old, new in zip(held, mixed, strict=True)]
            fused = how(cross[layer].values[sample], axis=0)
            taken = [sum(fused[q, k] / sum(fused[q]) * carried[k] for k in range(7)) for q in range(5)]
            held = [
                residual * old + (1 - residual) * np.concatenate([np.zeros(5), new])
                for old, new in zip(held, taken, strict=True)
            ]
        for step in range(5):
            assert abs(held[step].sum() - 1) < 1e-12
            share = held[step][5:].sum()
            np.testing.assert_allclose(found.encoder_share[sample, step], share, rtol=1e-12)
            np.testing.assert_allclose(found[sample, step], held[step][5:] / share, rtol=1e-12)
    np.testing.assert_allclose(found.sum("key"), 1, rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_one_cross_attention_over_and_over_is_that_of_the_rollout(rng, layers):
    maps, cross, _ = parts(rng)
    encoder = ats.analysis.rollout(maps)
    still = xr.DataArray(np.tile(np.eye(5), (2, 1, 1, 1)), dims=DIMS)
    found = ats.analysis.composition(encoder, [cross[0]] * layers, [still] * layers)
    expected = cross[0].values.mean(1) @ encoder.values[-1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found.encoder_share, 1 - 0.5**layers, rtol=1e-12)


def test_uniform_attention_stays_uniform(rng):
    uniform = {"e": np.full((1, 1, 7, 7), 1 / 7), "c": np.full((1, 1, 5, 7), 1 / 7), "d": np.full((1, 1, 5, 5), 1 / 5)}
    arrays = {name: xr.DataArray(values, dims=DIMS) for name, values in uniform.items()}
    encoder = ats.analysis.rollout(ats.AttentionMaps.from_arrays({"e": uniform["e"]}))
    found = ats.analysis.composition(encoder, [arrays["c"]], [arrays["d"]])
    np.testing.assert_allclose(found, 1 / 7, rtol=1e-12)


def test_a_step_that_takes_in_nothing_has_no_relevance_and_maps_do_too(rng):
    maps, cross, own = parts(rng, layers=1)
    cross[0][1, :, 0] = 0
    encoder = ats.analysis.rollout(maps)
    found = ats.analysis.composition(encoder, {"cross": cross[0]}, {"own": own[0]})
    assert np.isnan(found).all("key").values.tolist() == [[False] * 5, [True] + [False] * 4]
    assert found.encoder_share[1, 0].item() == 0
    np.testing.assert_array_equal(np.isnan(found), np.isnan(ats.analysis.composition(encoder, cross, own)))


def test_labels_stay_with_their_axes(rng):
    maps, cross, own = parts(rng, layers=1)
    cross[0] = cross[0].assign_coords(key_label=("key", list("abcdefg")), query_label=("query", list("vwxyz")))
    found = ats.analysis.composition(ats.analysis.rollout(maps), cross, own)
    assert found.key_label.values.tolist() == list("abcdefg")
    assert found.query_label.values.tolist() == list("vwxyz")


def test_what_does_not_belong_together_is_refused(rng):
    maps, cross, own = parts(rng)
    encoder = ats.analysis.rollout(maps)
    with pytest.raises(SchemaError) as caught:
        ats.analysis.composition(encoder, cross, own[:2])
    assert str(caught.value) == (
        "3 cross-attentions and 2 self-attentions of the decoder were given, but one of each is needed for every "
        "layer: composition(rollout(maps, encoder), [maps[name] for name in cross], [maps[name] for name in decoder])."
    )
    with pytest.raises(SchemaError) as caught:
        ats.analysis.composition(encoder, cross, cross)
    assert str(caught.value) == (
        "decoder[0] has the sizes {'sample': 2, 'query': 5, 'key': 7}, but {'sample': 2, 'query': 5, 'key': 5} are "
        "needed to fit cross[0]: the encoder has as many positions as the cross-attention has keys, and the decoder as "
        "many as it has queries. Make a rollout with rollout(maps, sites=[...])."
    )
    with pytest.raises(InputError):
        ats.analysis.composition(encoder, cross, own, residual=1.5)
