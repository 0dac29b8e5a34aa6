"""Every family of KerasHub, tiny and random: nothing is missed or changed.

Each is tested on one backend, the same one every time; on each backend where ATTNSCOPE_EVERY_CASE is set.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import xarray as xr
from keras import ops, tree

import attnscope as ats
from attnscope.discovery import sites
from attnscope.schema import key_dims
from hub_families import (
    BATCH,
    EXPECTED,
    ORDINARY,
    WITHOUT_ATTENTION,
    Variant,
    backbones,
    cases,
    inputs_of,
    tiny,
)
from hub_table import rows_in_page, rows_of

TOLERANCE = 1e-6

# KerasHub's models bring Keras to warn while they are built (masks that a layer drops, states it cannot build).
pytestmark = [
    pytest.mark.every_backend(share=1),  # families are dealt out below
    pytest.mark.filterwarnings("ignore::UserWarning:keras", "ignore::UserWarning:keras_hub", "ignore::UserWarning:jax"),
]

BACKENDS = ("jax", "tensorflow", "torch")
SHARES = ("jax", "tensorflow", *("torch",) * 10)
TURN = 9
"""Which of twelve ways to deal them out: one where JAX and TensorFlow have families of many kinds, not the slowest."""


def backends_of(case: Variant) -> list[str]:
    """The backends that a family is tested on: one of those that can run it, told by its name alone.

    A family takes five times as long on JAX as on PyTorch, and three times as long on TensorFlow, so that PyTorch has
    most of them.
    """
    able = [backend for backend in BACKENDS if backend not in case.cannot]
    if os.environ.get("ATTNSCOPE_EVERY_CASE"):
        return able
    dealt = [backend for backend in SHARES if backend in able]
    return [dealt[(zlib.crc32(case.name.encode()) + TURN) % len(dealt)]]


HERE = [case for case in cases() if keras.backend.backend() in backends_of(case)]
ATTENDING = [case for case in HERE if case.family not in WITHOUT_ATTENTION]
CONVOLVING = [case for case in HERE if case.family in WITHOUT_ATTENTION]


def called(model: keras.Model, inputs: Any) -> Any:
    """The model called as it is."""
    return model(tree.map_structure(ops.convert_to_tensor, inputs), training=False)


def compiled(model: keras.Model) -> Callable[[keras.Model, Any], Any]:
    """The model called in a function that its framework compiles, with nothing of attnscope's in it."""
    if keras.backend.backend() == "torch":
        return called
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        return lambda _, inputs: function(tree.map_structure(tf.convert_to_tensor, inputs))

    import jax

    function = jax.jit(lambda values, others, inputs: model.stateless_call(values, others, inputs, training=False)[0])
    values = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    return lambda _, inputs: function(values, others, inputs)


def named(outputs: Any) -> dict[str, np.ndarray]:
    """A model's outputs by name, as `AttentionMaps.outputs` names them."""
    leaves = tree.flatten_with_path(outputs)
    return {"/".join(map(str, path)): np.asarray(ops.convert_to_numpy(leaf)) for path, leaf in leaves}


def captured_outputs(maps: ats.AttentionMaps) -> dict[str, np.ndarray]:
    """The outputs of the first batch."""
    outputs = maps.outputs if isinstance(maps.outputs, dict) else {"": maps.outputs}
    return {name: (array[:BATCH] if "sample" in array.dims else array).values for name, array in outputs.items()}


def difference(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    """The largest difference, as a part of the output's largest number where that is over 1."""
    assert {name: array.shape for name, array in first.items()} == {name: array.shape for name, array in second.items()}
    pairs = [(array.astype("float64"), second[name].astype("float64")) for name, array in first.items() if array.size]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in pairs)


def there_and_back(case: Variant, inputs: Any) -> Any:
    """The samples, and then the same in the reverse order: two batches that must give the same."""
    return tree.map_structure(lambda *arrays: np.concatenate(arrays), inputs, case.reversed(inputs))


@pytest.fixture(scope="module", params=ATTENDING, ids=lambda case: case.name)
def family(request: pytest.FixtureRequest) -> Any:
    return Seen(request.param)


class Seen:
    """One family, run once: built, called plainly, traced, captured, called plainly again."""

    def __init__(self, case: Variant) -> None:
        self.case = case
        try:
            self.model = case.build()
            self.inputs = case.inputs(self.model)
            # On JAX a compiled function: JAX takes longer to compile every operation on its own.
            self.run = compiled(self.model) if keras.backend.backend() == "jax" else called
            self.before = named(self.run(self.model, self.inputs))
        except Exception as error:
            if case.name in EXPECTED:
                raise
            pytest.fail(
                f"{case.family} is new in KerasHub and cannot be built and run by its signature alone: {error}. Add a "
                "config: an entry of TINY or BUILT_BY_HAND in tests/hub_families.py, and one of EXPECTED.",
                pytrace=False,
            )
        self.sites = sites(self.model, self.inputs)
        self.maps = ats.capture(self.model, there_and_back(case, self.inputs), batch_size=BATCH, progress=False)
        self.after = named(self.run(self.model, self.inputs))
        if case.name not in EXPECTED:
            pytest.fail(
                f"{case.name} is new in KerasHub. Add what its architecture must show to EXPECTED in "
                f"tests/hub_families.py. Seen were {len(self.maps)} attention calls:\n{self.sites}",
                pytrace=False,
            )
        self.expected = EXPECTED[case.name]


def valid(maps: ats.AttentionMaps, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Which queries and which keys are no padding, in the dims of the scores."""
    scores = maps[name]
    everything = xr.ones_like(scores, dtype=bool)
    return tuple(
        everything & scores.coords[f"{axis}_valid"] if f"{axis}_valid" in scores.coords else everything
        for axis in ("query", "key")
    )


def test_every_attention_call_is_taken_and_nothing_else(family: Seen) -> None:
    assert len(family.maps) == family.expected.calls, repr(family.sites)
    assert [site.name for site in family.sites if site.taken] == list(family.maps)
    assert sum(not site.taken for site in family.sites) == family.expected.others, repr(family.sites)


def test_the_page_says_where_its_axes_come_from_and_they_are_traced(family: Seen) -> None:
    rows = rows_of(family.case.name, family.sites)
    assert rows == rows_in_page(family.case.name)
    assert sum(int(count) for _, count, *_, certainty in rows if certainty != "traced") == family.expected.by_size


def test_dims_and_heads_are_those_of_the_architecture(family: Seen) -> None:
    expected = family.expected
    dims = [site.dims for site in family.maps.sites]
    counted = {each: dims.count(each) for each in dims if each != ORDINARY}
    assert counted == expected.dims
    heads = tuple(array.sizes["head"] for array in family.maps.values() if "head" in array.dims)
    assert heads == (expected.heads if len(expected.heads) > 1 else expected.heads * len(heads))
    assert {site.sinks for site in family.maps.sites} == {expected.sinks}


def test_rows_over_the_valid_keys_sum_to_one(family: Seen) -> None:
    for name, scores in family.maps.items():
        queries, keys = valid(family.maps, name)
        axes = key_dims(scores.dims)
        sums = scores.where(keys, 0).sum(axes).values[queries.any(axes).values]
        assert sums.size, name
        np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-5, err_msg=name)


def test_padding_gets_nothing(family: Seen) -> None:
    for name, scores in family.maps.items():
        queries, keys = valid(family.maps, name)
        assert scores.where(queries & ~keys, 0).max() == 0, name


def test_the_padding_of_the_inputs_is_known(family: Seen) -> None:
    inputs = family.inputs if isinstance(family.inputs, dict) else {}
    for mask in (array.astype(bool) for name, array in inputs.items() if name.endswith("padding_mask")):
        for name, scores in family.maps.items():
            for axis, learned in (("query", 0), ("key", family.expected.sinks)):
                if scores.sizes.get(axis) == mask.shape[1] + learned:
                    known = scores.coords[f"{axis}_valid"].values[:BATCH, : mask.shape[1]]
                    # Queries that the model makes itself (PARSeq's) are no positions of the padded sequence.
                    of_inputs = " of input" in json.loads(scores.attrs["lineage"])[axis]
                    np.testing.assert_array_equal(known, mask if of_inputs else True, err_msg=f"{name}, {axis}")


def test_causal_calls_see_no_later_key(family: Seen) -> None:
    def is_causal(scores: xr.DataArray) -> bool:
        if scores.sizes.get("query") != scores.sizes["key"] - family.expected.sinks or scores.sizes["query"] < 2:
            return False
        later = xr.DataArray(np.triu(np.ones((scores.sizes["query"],) * 2), 1), dims=("query", "key"))
        return not float((scores.isel(key=slice(scores.sizes["query"])) * later).max())

    assert sum(is_causal(scores.drop_vars(scores.coords)) for scores in family.maps.values()) == family.expected.causal


def test_each_sample_has_its_own_scores(family: Seen) -> None:
    if family.expected.mixes_samples:
        pytest.skip(family.expected.remark)
    for name, scores in family.maps.items():
        first, again = scores.values[:BATCH], scores.values[BATCH:][::-1]
        np.testing.assert_allclose(first, again, rtol=0, atol=1e-5, err_msg=name)


def test_the_model_gives_the_same_before_during_and_after(family: Seen) -> None:
    during = captured_outputs(family.maps)
    assert difference(family.before, family.after) == 0
    if difference(family.before, during) > TOLERANCE:  # a compiler reorders sums: it is to be compared with itself
        assert difference(named(compiled(family.model)(family.model, family.inputs)), during) <= TOLERANCE


def test_one_layer_that_runs_twelve_times_has_twelve_sites_whose_axes_are_the_same() -> None:
    model = tiny("AlbertBackbone", num_layers=12)()
    found = sites(model, inputs_of(model))
    assert [site.call_index for site in found if site.taken] == list(range(12))
    [row] = rows_of("twelve", found)
    assert row == ["twelve", "12", *rows_in_page("AlbertBackbone")[0][2:]]


@pytest.mark.parametrize("case", CONVOLVING, ids=lambda case: case.name)
def test_a_family_without_attention_has_no_site(case: Variant) -> None:
    model = case.build()
    assert sites(model, case.inputs(model)).names == []


def test_a_new_family_that_cannot_be_built_fails_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class NewBackbone(keras_hub.models.Backbone):
        def __init__(self, num_layers: int, strangeness: int) -> None: ...

    monkeypatch.setattr(keras_hub.models, "NewBackbone", NewBackbone, raising=False)
    (case,) = [case for case in cases() if case.family == "NewBackbone"]
    with pytest.raises(pytest.fail.Exception) as failure:
        Seen(case)
    assert str(failure.value) == (
        "NewBackbone is new in KerasHub and cannot be built and run by its signature alone: no tiny size is known for "
        "strangeness. Add a config: an entry of TINY or BUILT_BY_HAND in tests/hub_families.py, and one of EXPECTED."
    )


def test_every_family_is_tested_on_some_backend_and_each_backend_meets_a_share() -> None:
    shares = [backends_of(case) for case in cases()]
    assert all(shares)
    for backend in BACKENDS:
        assert sum(backend in share for share in shares) > len(shares) / 30


def test_every_exported_family_is_stated_once() -> None:
    stated = {name.split(",")[0] for name in EXPECTED} | set(WITHOUT_ATTENTION)
    assert not {name.split(",")[0] for name in EXPECTED} & set(WITHOUT_ATTENTION)
    unstated = sorted(set(backbones()) - stated)
    assert not unstated, (
        f"{unstated} are new in KerasHub: add a config and an entry of EXPECTED to tests/hub_families.py."
    )
