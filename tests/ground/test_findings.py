"""The lint: every rule on a model that has the fault, and silence on one that has not."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.findings import Finding, Findings
from attnscope.findings._finding import Figure, HeadsOf, KeyPosition, NamesOf


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
    assert finding.fix == (
        "pass the mask explicitly: layer(x, x, attention_mask=mask), or put LayerNormalization before the attention "
        "(pre-norm), or use Embedding(mask_zero=True) if there is no mask at all; then train again"
    )
    summaries = ats.capture(model, x, summaries=[ats.Received()]).findings
    assert [(item.kind, item.site) for item in summaries] == [("padding", "second")]
    assert abs(summaries[0].value - scores) < 1e-5


class Forgets(layers.Layer):
    """Hands on no mask."""

    supports_masking = True

    def call(self, x):
        return 2 * x

    def compute_mask(self, inputs, mask=None):
        return None


def test_only_who_removed_the_mask_of_the_keys_is_named(rng):
    text, other = (keras.Input((7,), dtype="int32", name=name) for name in ("text", "other"))
    words = layers.LayerNormalization()(layers.Embedding(13, 6, mask_zero=True)(text))
    asks = layers.MultiHeadAttention(2, 5, name="first")(words, words)  # takes off the mask of the words alone
    others = Forgets()(layers.Embedding(13, 6, mask_zero=True)(other))
    model = keras.Model([text, other], layers.MultiHeadAttention(2, 5, name="second")(asks, others))
    scaled(model, rng, 0.3)
    data = rng.integers(1, 13, (2, 6, 7))
    data[:, :, 5:] = 0
    maps = ats.capture(model, list(data), progress=False)
    finding = padding_of(maps)
    share = f"{finding.value:.1%}"
    assert finding.site == "second"
    assert finding.message == f"{share} of the attention falls on padding; no padding mask reached this layer"


def padding_of(maps):
    [finding] = [item for item in maps.findings if item.kind == "padding"]
    return finding


class Ignores(layers.Layer):
    """Attention that takes no mask."""

    supports_masking = True

    def call(self, x):
        return ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2))), x)


@pytest.mark.parametrize(
    ("attend", "cause", "fix"),
    [
        (
            lambda x: layers.Dot(axes=(2, 1))([layers.Activation("softmax")(layers.Dot(axes=-1)([x, x])), x]),
            "this softmax takes no mask",
            "put keras.layers.Softmax() in its place, which takes a mask: Softmax()(logits, mask=mask); or set the "
            "logits of padding to -1e9 in front of it: ops.where(mask, logits, -1e9); then train again",
        ),
        (
            lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x),
            "this softmax takes no mask",
            "put keras.layers.Softmax() in its place, which takes a mask: Softmax()(logits, mask=mask); or set the "
            "logits of padding to -1e9 in front of it: ops.where(mask, logits, -1e9); then train again",
        ),
        (
            Ignores(),
            "no padding mask reached this layer",
            "give the layer the mask if it takes one, as attention_mask= or mask=; if not, set the logits of padding "
            "to -1e9 in front of its softmax: ops.where(mask, logits, -1e9); then train again",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_the_fix_of_attention_on_padding_suits_the_layer(rng, attend, cause, fix):
    tokens = keras.Input((7,), dtype="int32")
    model = keras.Model(tokens, attend(layers.Embedding(13, 6, mask_zero=True)(tokens)))
    x = rng.integers(1, 13, (5, 7))
    x[:, 5:] = 0
    maps = ats.capture(model, x)
    finding = padding_of(maps)
    [scores] = [maps[name].values for name in maps]
    share = scores[:, :5, 5:].sum(-1).mean()
    assert abs(finding.value - share) < 1e-6
    assert finding.message == f"{share:.1%} of the attention falls on padding; {cause}"
    assert finding.fix == fix


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_the_share_on_padding_is_that_of_each_step_and_its_own_padding(rng):
    """Documents of 3 sentences of 5 words; a sentence that is nothing but padding has nothing else to attend to."""
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(13, 6, mask_zero=True)(words)
    states = layers.LSTM(4, return_sequences=True)(x)
    weights = layers.Activation("softmax", name="weights")(layers.Flatten()(layers.Dense(1)(states)))
    sentence = keras.Model(words, layers.Dot(axes=1)([weights, x]))
    document = keras.Input((3, 5), dtype="int32")
    model = keras.Model(document, layers.TimeDistributed(sentence, name="each")(document))
    scaled(model, rng)
    data = rng.integers(1, 13, (2, 3, 5))
    data[0, 0, 2:] = data[0, 1, 4:] = data[1, 2] = 0
    maps = ats.capture(model, data)
    scores = maps["each/weights"].values
    shares = [
        scores[sample, step][data[sample, step] == 0].sum()
        for sample in range(2)
        for step in range(3)
        if data[sample, step].any()
    ]
    for captured in (maps, ats.capture(model, data, summaries=[ats.Received()])):
        assert abs(padding_of(captured).value - np.mean(shares)) < 1e-6


class InWindows(layers.Layer):
    """Attention of 6 tokens in two windows of 3, blind to any mask."""

    def call(self, x):
        windows = ops.reshape(x, (-1, 2, 3, x.shape[-1]))
        scores = ops.softmax(ops.matmul(windows, ops.swapaxes(windows, 2, 3)))
        return ops.reshape(ops.matmul(scores, windows), (-1, 6, x.shape[-1]))


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_the_share_on_padding_is_that_of_each_window_and_its_own_padding(rng):
    tokens = keras.Input((6,), dtype="int32")
    model = keras.Model(tokens, InWindows(name="windows")(layers.Embedding(13, 6, mask_zero=True)(tokens)))
    scaled(model, rng, 0.5)
    data = rng.integers(1, 13, (3, 6))
    data[0, 1:] = data[1, 4:] = 0
    maps = ats.capture(model, data)
    assert maps["windows"].key_valid.dims == ("sample", "window", "key")
    scores, real = maps["windows"].values, data.reshape(3, 2, 3) != 0
    shares = [
        scores[sample, window, query][~real[sample, window]].sum()
        for sample in range(3)
        for window in range(2)
        for query in range(3)
        if real[sample, window, query]
    ]
    for captured in (maps, ats.capture(model, data, summaries=[ats.Received()])):
        assert abs(padding_of(captured).value - np.mean(shares)) < 1e-6


def test_documents_of_nothing_but_padding_are_one_finding(rng):
    words = keras.Input((5,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(13, 6, mask_zero=True)(words))
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 3, name="mha")(x, x))
    document = keras.Input((3, 5), dtype="int32")
    model = keras.Model(document, layers.TimeDistributed(keras.Model(words, pooled), name="each")(document))
    for summaries in ([], [ats.Received(), ats.Entropy()]):
        [finding] = ats.capture(model, np.zeros((2, 3, 5), "int32"), summaries=summaries).findings
        assert (finding.kind, finding.site) == ("only_padding", "each/mha")
        assert finding.message == "every key of all 2 samples is padding, so that there is nothing to attend to"


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


@pytest.mark.parametrize(("other", "found"), [(0, True), (2, True), (3, False)])
def test_a_few_rows_that_are_not_even_do_not_hide_that_the_others_are(other, found):
    scores = np.full((4, 1, 10, 5), 0.2)
    scores[:, :, :, :2] += [0.008, -0.008]  # within 5% of 1/5
    scores.reshape(40, 5)[:other] = [0.6, 0.1, 0.1, 0.1, 0.1]
    findings = ats.AttentionMaps.from_arrays({"a": scores}).findings
    assert [finding.message for finding in findings if finding.kind == "uniform"] == (
        [
            f"the queries of head 0 spread their attention evenly over the open keys: in {100 - 2.5 * other:.1f}% of "
            "the rows, each score is within 5% of 1 divided by the number of open keys"
        ]
        if found
        else []
    )


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


def with_sinks(count):
    """Sites whose 3 heads give key 0 most of their attention: 60% in the first site, 2% more in each of the others."""
    arrays = {}
    for number in range(count):
        weight = 0.6 + 0.02 * number
        rows = np.tile([weight, *[(1 - weight) / 4] * 4], (1, 3, 5, 1))
        arrays[f"layer_{number}/mha"] = rows.astype("float32")
    return ats.AttentionMaps.from_arrays(arrays)


def test_findings_that_differ_only_in_their_sites_and_figures_are_shown_as_one():
    maps = with_sinks(12)
    assert [(item.site, item.heads) for item in maps.findings] == [
        (f"layer_{number}/mha", (head,)) for number in range(12) for head in range(3)
    ]
    (group,) = maps.findings.grouped
    assert group.findings == maps.findings
    assert group.sites == tuple(f"layer_{number}/mha" for number in range(12))
    message = (
        "key 0 is the strongest key of 100.0% of the queries of 36 heads, and the strongest key gets 60% to 82% of "
        "their attention: a sink"
    )
    listed = ", ".join(f"layer {number}" for number in range(12))
    assert str(group) == f"12 sites: {message} ({listed})"
    assert repr(maps.findings) == f"12 sites: {message}\n    Sites: {listed}\n    Fix: {group.fix}"
    with_paths = ", ".join(
        f"<abbr title='\u2068layer_{number}/mha\u2069'>layer {number}</abbr>" for number in range(12)
    )
    assert maps.findings._repr_html_() == (
        f"<ul><li><b>12 sites</b>: {message}<br><i>Sites:</i> {with_paths}<br><i>Fix:</i> {group.fix}</li></ul>"
    )
    assert ats.view(maps).payload.manifest["notes"][0] == f"12 sites: {message} ({listed})"


def test_findings_of_one_site_name_its_heads():
    (group,) = with_sinks(1).findings.grouped
    assert str(group) == (
        "mha: key 0 is the strongest key of 100.0% of the queries of all heads, and the strongest key gets 60% "
        "of their attention: a sink"
    )


@pytest.mark.parametrize(
    ("parts", "together"),
    [
        ([Figure(0.031, ".1%"), Figure(0.172, ".1%"), Figure(0.06, ".1%")], "3.1% to 17.2%"),
        ([Figure(7), Figure(7)], "7"),
        ([NamesOf(("a",)), NamesOf(("b", "a"))], "'a', 'b'"),
        ([NamesOf((f"add_{number}",)) for number in range(7)], "'add_0', 'add_1', 'add_2', 'add_3' and 3 others"),
        ([KeyPosition(3), KeyPosition(3)], "key 3"),
        ([KeyPosition(3), KeyPosition(0)], "one key (0, 3)"),
        ([KeyPosition(number) for number in range(6)], "one key (0, 1, 2, 3, ...)"),
        ([HeadsOf("a", (0,), 3), HeadsOf("a", (2,), 3)], "heads 0, 2"),
        ([HeadsOf("a", (0, 1), 2), HeadsOf("b", (0, 1), 2)], "all heads"),
        ([HeadsOf("a", (0, 1), 2), HeadsOf("b", (0,), 2)], "3 heads"),
        ([HeadsOf("a", (1,), 2, queries=True), HeadsOf("b", (0,), 2, queries=True)], "the queries of 2 heads"),
        ([HeadsOf("a", (), 0), HeadsOf("b", (), 0)], "the queries"),
    ],
)
def test_the_parts_of_a_message_about_several_sites(parts, together):
    first, *others = parts
    assert first.together(others) == together


def test_what_has_another_cause_is_another_finding():
    share = {"share": Figure(0.1, ".0%")}
    cause = Finding.of("padding", "a", "{share} falls on padding; no mask", "a fix", 0.1, share)
    other = Finding.of("padding", "b", "{share} falls on padding; it was removed", "a fix", 0.1, share)
    again = Finding.of("padding", "c", cause.pattern, "another fix", 0.1, share)
    assert [group.sites for group in Findings([cause, other, again, cause]).grouped] == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((2, 3, 5, 0), "keys"),
        ((2, 3, 0, 5), "queries"),
        ((2, 0, 5, 5), "heads"),
        ((0, 3, 5, 5), "samples"),
        ((2, 3, 0, 0), "queries and no keys"),
    ],
)
def test_of_a_map_without_anything_it_is_said_that_there_is_nothing(shape, what):
    [finding] = ats.AttentionMaps.from_arrays({"mha": np.zeros(shape, "float32")}).findings
    assert (finding.kind, finding.message) == ("empty", f"there is nothing to see: it has no {what}")


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
