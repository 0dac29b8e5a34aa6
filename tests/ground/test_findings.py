"""The lint: every rule on a model that has the fault, and silence on one that has not."""

import pickle

import keras
import numpy as np
from keras import layers, ops

import attnscope as ats


def kinds(maps):
    return [(finding.kind, finding.site, finding.heads) for finding in maps.findings]


def scaled(model, rng, scale=1.0):
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(scale * rng.normal(size=weight.shape).astype("float32")))
    return model


def test_attention_on_padding_names_who_took_the_mask(rng):
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(13, 6, mask_zero=True)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 5, name="first")(x, x)])
    model = keras.Model(tokens, layers.MultiHeadAttention(2, 5, name="second")(x, x))
    scaled(model, rng, 0.3)
    x = rng.integers(1, 13, (6, 7))
    x[:, 5:] = 0
    maps = ats.capture(model, x)
    (finding,) = [item for item in maps.findings if item.kind == "padding"]
    scores = maps["second"].values[:, :, :5, 5:].sum(-1).mean()
    assert finding.site == "second"
    assert abs(finding.value - scores) < 1e-6
    assert finding.message == (
        f"{scores:.1%} of the attention falls on padding; the padding mask was removed by 'first': "
        "MultiHeadAttention clears the mask of the tensor it is called on, so a second layer on that tensor, or an Add "
        "after it, sees no mask"
    )
    assert "attention_mask=mask" in finding.fix
    assert finding.fix.endswith("; then train again")
    summaries = ats.capture(model, x, summaries=[ats.Received()]).findings
    assert [(item.kind, item.site) for item in summaries] == [("padding", "second")]
    assert abs(summaries[0].value - scores) < 1e-5


def test_a_mask_that_reaches_the_layer_gives_no_finding(rng):
    tokens = keras.Input((7,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(13, 6, mask_zero=True)(tokens))
    model = scaled(keras.Model(tokens, layers.MultiHeadAttention(2, 5)(x, x)), rng)
    x = rng.integers(1, 13, (6, 7))
    x[:, 5:] = 0
    assert kinds(ats.capture(model, x)) == []


def test_a_map_in_which_everything_is_padding_says_that_and_nothing_else(rng):
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(13, 6, mask_zero=True)(tokens)
    model = keras.Model(tokens, ats.layers.AttentionPooling(3, name="pool")(x))
    maps = ats.capture(model, np.zeros((6, 7), "int32"))
    (finding,) = maps.findings
    assert (finding.kind, finding.site, finding.value) == ("only_padding", "pool", 1.0)
    assert finding.message == "every key of all 6 samples is padding, so that there is nothing to attend to"
    assert finding.fix == "check the inputs: which number stands for padding, and whether they were preprocessed"
    mixed = ats.capture(model, np.stack([np.zeros(7, "int32"), np.arange(1, 8)]))
    assert "only_padding" not in [finding.kind for finding in mixed.findings]


def test_a_single_key(rng):
    inputs = keras.Input((8,))
    x = layers.Reshape((1, 8))(inputs)
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 5, name="mha")(x, x))
    maps = ats.capture(model, rng.normal(size=(4, 8)).astype("float32"))
    assert set(maps.sites[0].lineage) == {"sample", "head"}  # nothing tells where an axis of size 1 comes from
    (finding,) = maps.findings
    assert (finding.kind, finding.site) == ("single_key", "mha")
    assert "Reshape((n, 1))" in finding.fix


def test_uniform_and_constant_maps(rng):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.MultiHeadAttention(3, 4, name="mha")(inputs, inputs))
    scaled(model, rng)
    kernel = ops.convert_to_numpy(model.get_layer("mha").query_dense.kernel).copy()
    bias = ops.convert_to_numpy(model.get_layer("mha").query_dense.bias).copy()
    kernel[:, 1], bias[1] = 0, 0
    model.get_layer("mha").query_dense.kernel.assign(kernel)
    model.get_layer("mha").query_dense.bias.assign(bias)
    x = rng.normal(size=(4, 5, 8)).astype("float32")
    assert kinds(ats.capture(model, x)) == [("uniform", "mha", (1,))]
    same = np.repeat(x[:1], 4, axis=0)
    found = kinds(ats.capture(model, same))
    assert found == [("uniform", "mha", (1,)), ("constant", "mha", ())]


def test_a_head_that_collapses_on_one_key_is_a_sink():
    scores = np.full((3, 2, 5, 5), 0.2)
    scores[:, 1] = 0.025
    scores[:, 1, :, 3] = 0.9
    scores[0, 0, 0] = [0.6, 0.1, 0.1, 0.1, 0.1]
    maps = ats.AttentionMaps.from_arrays({"a": scores})
    (finding,) = maps.findings
    assert (finding.kind, finding.heads) == ("sink", (1,))
    assert finding.message == (
        "key 3 is the strongest key of 100.0% of the queries of head 1, and the strongest key gets 90% of their "
        "attention: a sink"
    )


def test_rows_that_do_not_sum_to_1():
    scores = np.full((3, 2, 5, 5), 0.2)
    scores[1, 0, 2, 4] = 0.5
    scores[0, :, :, 0], scores[0, :, :, 1] = 0.1, 0.3
    (finding,) = ats.AttentionMaps.from_arrays({"a": scores}).findings
    assert finding.kind == "row_sum"
    assert abs(finding.value - 0.3) < 1e-9


def test_findings_are_the_same_after_saving(rng, tmp_path):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs))
    maps = ats.capture(model, np.ones((4, 5, 8), "float32"))
    maps.save(tmp_path / "run.zarr")
    assert ats.open(tmp_path / "run.zarr").findings == maps.findings
    (first, *_) = maps.findings
    assert f"    Fix: {first.fix}" in repr(maps.findings).splitlines()
    assert f"<i>Fix:</i> {first.fix}</li>" in maps.findings._repr_html_()


def test_the_earlier_name_of_a_fix_still_works():
    (finding,) = ats.AttentionMaps.from_arrays({"a": np.ones((1, 2, 3, 1))}).findings
    assert finding.mend == finding.fix != ""


def test_a_finding_that_was_pickled_under_the_earlier_name_of_its_fix_is_whole():
    finding = ats.findings.Finding("sink", "site", (1,), "a sink", "leave it out", 0.9)
    earlier = {**vars(finding)}
    earlier["mend"] = earlier.pop("fix")
    old = ats.findings.Finding.__new__(ats.findings.Finding)
    old.__setstate__(earlier)
    assert old == finding == pickle.loads(pickle.dumps(finding))
    assert old.mend == "leave it out"
