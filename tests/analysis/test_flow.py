"""Attention flow against brute-force minimum cuts and a linear programme."""

import itertools

import numpy as np
import pytest

import attnscope as ats
from analysis_maps import softmax
from attnscope.errors import InputError, SchemaError

scipy = pytest.importorskip("scipy", reason="SciPy is not installed")


def graph_of(layers, residual):
    """Edges (from, to): capacity between nodes (layer, position), layer 0 being the input."""
    edges = {}
    for number, layer in enumerate(layers):
        fused = layer.mean(0)
        for q, k in np.ndindex(*fused.shape):
            edges[(number + 1, q), (number, k)] = (1 - residual) * fused[q, k] / fused[q].sum() + residual * (q == k)
    return edges


def minimum_cut(edges, source, target):
    """What the maximum flow equals: the least capacity that leaves any set of nodes with the source in it."""
    nodes = {node for edge in edges for node in edge} - {source, target}
    best = np.inf
    for inside in itertools.product([False, True], repeat=len(nodes)):
        chosen = {source} | {node for node, held in zip(sorted(nodes), inside, strict=True) if held}
        best = min(best, sum(c for (one, other), c in edges.items() if one in chosen and other not in chosen))
    return best


@pytest.mark.parametrize(("layers", "size"), [(1, 5), (2, 3), (3, 3), (4, 2)])
@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_flow_is_the_minimum_cut(rng, layers, size, residual):
    arrays = [softmax(2 * rng.normal(size=(2, 3, size, size))) for _ in range(layers)]
    found = ats.analysis.flow(ats.AttentionMaps.from_arrays(arrays), residual=residual)
    assert found.dims == ("sample", "query", "key")
    edges = graph_of([array[1] for array in arrays], residual)
    for query, key in np.ndindex(size, size):
        expected = minimum_cut(edges, (layers, query), (0, key))
        np.testing.assert_allclose(found[1, query, key], expected, atol=layers * size**2 * 2.0**-31)


def test_flow_is_the_optimum_of_the_linear_programme(rng):
    layers, size = 3, 7
    arrays = [softmax(2 * rng.normal(size=(1, 2, size, size))) for _ in range(layers)]
    found = ats.analysis.flow(ats.AttentionMaps.from_arrays(arrays), queries=[4, 1])
    assert found["query"].values.tolist() == [4, 1]
    edges = graph_of([array[0] for array in arrays], 0.5)
    order = list(edges)
    for place, query in enumerate([4, 1]):
        for key in range(size):
            source, target = (layers, query), (0, key)
            nodes = sorted({node for edge in order for node in edge} - {source, target})
            kept = np.array([[(edge[1] == node) - (edge[0] == node) for edge in order] for node in nodes])
            gain = [-float(edge[0] == source) for edge in order]
            bounds = [(0, edges[edge]) for edge in order]
            best = scipy.optimize.linprog(gain, A_eq=kept, b_eq=np.zeros(len(nodes)), bounds=bounds)
            assert abs(float(found[0, place, key]) + best.fun) < 1e-7


def test_identity_lets_everything_through_to_oneself_and_nothing_else():
    maps = ats.AttentionMaps.from_arrays([np.eye(5).reshape(1, 1, 5, 5)] * 3)
    np.testing.assert_array_equal(ats.analysis.flow(maps)[0], np.eye(5))


@pytest.mark.parametrize(("layers", "apart"), [(1, 0.1), (2, 0.5), (3, 0.9), (4, 1.0)])
def test_uniform_attention_has_its_closed_form(layers, apart):
    """With n positions and u = 1 / 2n: edges of u, and of 1/2 + u between a position and itself. To another position
    one layer lets u pass, two n paths of u, and three all but u: the source sends n u of its 1/2 + u by itself."""
    size = 5
    maps = ats.AttentionMaps.from_arrays([np.full((1, 2, size, size), 1 / size)] * layers)
    found = ats.analysis.flow(maps).values[0]
    own = np.eye(size, dtype=bool)
    np.testing.assert_allclose(found[own], 0.6 if layers == 1 else 1, atol=1e-7)
    np.testing.assert_allclose(found[~own], apart, atol=1e-7)


def test_no_flow_is_below_the_rollout(rng):
    maps = ats.AttentionMaps.from_arrays([softmax(3 * rng.normal(size=(2, 2, 7, 7))) for _ in range(3)])
    for fusion, discard in itertools.product(["mean", "max", "min"], [0.0, 0.4]):
        flow = ats.analysis.flow(maps, fusion=fusion, discard=discard)
        rollout = ats.analysis.rollout(maps, fusion=fusion, discard=discard).isel(layer=-1)
        assert float((flow - rollout.values).min()) > -1e-7
        assert float(flow.max()) <= 1 + 7 * 2.0**-31  # a row's rounding
        assert (flow.sum("key") > 1 - 1e-7).all()


def test_padding_has_no_flow_and_nan_stays_in_its_sample(rng):
    arrays = [softmax(rng.normal(size=(3, 2, 5, 5))) for _ in range(2)]
    arrays[1][2, 0, 3, 3] = np.nan
    maps = ats.AttentionMaps.from_arrays(arrays, labels=list("abcde"))
    valid = np.ones((3, 5), bool)
    valid[1, 3:] = False
    marked = ats.AttentionMaps(
        {name: maps.dataset(name).assign_coords(query_valid=(("sample", "query"), valid)) for name in maps}
    )
    found = ats.analysis.flow(marked)
    missing = np.isnan(found.values)
    assert not missing[0].any()
    assert missing[1].all(-1).tolist() == [False, False, False, True, True]
    assert not missing[1, :3].any()
    assert missing[2].all()
    assert found.key_label.values.tolist() == list("abcde")
    assert found.attrs["class_specific"] is False


def test_what_cannot_flow_is_refused(rng):
    maps = ats.AttentionMaps.from_arrays([softmax(rng.normal(size=(1, 2, 5, 5)))])
    with pytest.raises(InputError) as caught:
        ats.analysis.flow(maps, queries=[5])
    assert str(caught.value) == "queries=[5] were given, but the positions of the last layer are 0 to 4: queries=[0]."
    with pytest.raises(SchemaError) as caught:
        ats.analysis.flow(ats.AttentionMaps.from_arrays({"x": softmax(rng.normal(size=(1, 2, 3, 4)))}))
    assert str(caught.value) == (
        "The site 'x' has dims ('sample', 'head', 'query', 'key') with shape (1, 2, 3, 4), but a flow needs "
        "self-attention: ('sample', 'head', 'query', 'key') with as many queries as keys. Leave this site out: "
        "flow(maps, sites=[...])."
    )
