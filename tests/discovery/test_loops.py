"""What a loop runs over is what its steps are: sentences with their own padding, or the samples."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attention_forms import mapped, vectorised

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning"),
]

SAMPLES, SENTENCES, WORDS, WIDTH = 5, 3, 7, 8


class Loop(layers.Layer):
    """Pools each sentence of a document, or each sample, in a loop."""

    def __init__(self, how, **options):
        super().__init__(**options)
        self.how = how

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1), name="kernel", initializer="random_normal")

    def pooled(self, words):
        """Over the last axis but one."""
        scores = ops.softmax(ops.matmul(words, ops.convert_to_tensor(self.kernel)), axis=-2)
        return ops.sum(scores * words, axis=-2)

    def call(self, x):
        return getattr(self, self.how)(x)

    def map(self, x):
        return ops.map(self.pooled, x)

    def vectorized_map(self, x):
        return ops.vectorized_map(self.pooled, x)

    def scan(self, x):
        return ops.scan(lambda carry, words: (carry, self.pooled(words)), x[0, ..., 0, :], x)[1]

    def fori_loop(self, x):
        start = ops.zeros_like(x[..., 0, :])
        steps = x.shape[0]

        def step(n, total):
            here = ops.reshape(
                ops.cast(ops.equal(ops.arange(steps), n), x.dtype), (steps, *[1] * (len(start.shape) - 1))
            )
            return total + here * self.pooled(x[n])[None]

        return ops.fori_loop(0, steps, step, start)

    def map_of_the_framework(self, x):
        return mapped(self.pooled)(x)

    def vectorising_map_of_the_framework(self, x):
        return vectorised(self.pooled)(x)


class OverSentences(Loop):
    def call(self, x):
        return ops.mean(super().call(ops.swapaxes(x, 0, 1)), axis=0)


class OneAfterTheOther(Loop):
    """In a loop of Python's."""

    def call(self, x):
        return ops.mean(ops.stack([self.pooled(x[:, n]) for n in range(x.shape[1])]), axis=0)


def model_of(layer, *shape):
    text = keras.Input(shape, dtype="int32", name="text")
    embedded = layers.Embedding(9, WIDTH, mask_zero=True, name="embed")(text)
    return keras.Model(text, layers.Dense(2)(layer(embedded)))


def scores_by_hand(model, data):
    logits = np.asarray(model.get_layer("embed").get_weights()[0], "float64")[data]
    logits = (logits @ model.get_layer("site").get_weights()[0])[..., 0]
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def documents(rng):
    data = rng.integers(1, 9, (SAMPLES, SENTENCES, WORDS))
    data[0, 0, 2:] = data[0, 1, 4:] = data[3, 2, 1:] = 0
    return data


STEPS = ["map", "vectorized_map", "scan", "fori_loop"]
MAPS = ["map_of_the_framework", "vectorising_map_of_the_framework"]


@pytest.mark.parametrize("how", STEPS + MAPS)
def test_a_loop_over_sentences_has_steps_with_the_documents_padding(how, rng):
    model, data = model_of(OverSentences(how, name="site"), SENTENCES, WORDS), documents(rng)
    [site] = ats.sites(model, data)
    over = site.dims[1]
    assert site.dims == ("sample", over, "key")
    assert over == "step" or how in MAPS  # what runs over all sentences at once has them along an axis
    assert site.lineage[over] == "axis 1 of input 'text'"
    assert site.lineage["key"] == "axis 2 of input 'text'"
    maps = ats.capture(model, data, progress=False, batch_size=2)
    scores = maps["site"]
    np.testing.assert_allclose(scores, scores_by_hand(model, data), atol=1e-5)
    np.testing.assert_array_equal(scores.key_valid.transpose("sample", over, "key"), data != 0)
    [finding] = [finding for finding in maps.findings if finding.kind == "padding"]
    assert finding.value == pytest.approx(np.where(data == 0, scores.values, 0).sum(-1).mean(), abs=1e-5)
    received = ats.capture(model, data, progress=False, summaries=[ats.Received()])
    [same] = [finding for finding in received.findings if finding.kind == "padding"]
    assert same.value == pytest.approx(finding.value, abs=1e-5)


def test_a_loop_of_pythons_over_sentences_has_a_site_for_each_with_its_padding(rng):
    model, data = model_of(OneAfterTheOther("map", name="site"), SENTENCES, WORDS), documents(rng)
    maps = ats.capture(model, data, progress=False)
    assert list(maps) == ["site", "site#1", "site#2"]
    for number, name in enumerate(maps):
        assert maps[name].dims == ("sample", "key")
        np.testing.assert_allclose(maps[name], scores_by_hand(model, data)[:, number], atol=1e-5)
        np.testing.assert_array_equal(maps[name].key_valid, data[:, number] != 0)


@pytest.mark.parametrize("how", ["map", "vectorized_map", *MAPS])
@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_a_loop_over_the_samples_has_no_step_and_the_padding_of_each(how, samples, rng):
    model = model_of(Loop(how, name="site"), WORDS)
    data = rng.integers(1, 9, (samples, WORDS))
    data[0, 2:] = 0
    [site] = ats.sites(model, data)
    assert (site.dims, site.certainty, site.lineage["sample"]) == (("sample", "key"), "traced", "samples")
    scores = ats.capture(model, data, progress=False, batch_size=3)["site"]
    np.testing.assert_allclose(scores, scores_by_hand(model, data), atol=1e-5)
    np.testing.assert_array_equal(scores.key_valid, data != 0)


class EachToItself(keras.layers.Layer):
    """Self-attention of one sample, run over all samples."""

    def __init__(self, run, **options):
        super().__init__(**options)
        self.run = run

    def call(self, x):
        def attend(one):
            return ops.matmul(ops.softmax(ops.matmul(one, ops.transpose(one))), one)

        return self.run(attend, x)


@pytest.mark.parametrize("sizes", [(3, 7, 5), (4, 4, 4)], ids=["primes", "equal"])
@pytest.mark.parametrize("run", [ops.map, ops.vectorized_map])
def test_self_attention_of_one_sample_is_run_over_the_samples_whatever_the_sizes(run, sizes, rng):
    x = keras.Input(sizes[1:], name="x")
    model = keras.Model(x, EachToItself(run, name="site")(x))
    data = rng.normal(size=sizes).astype("float32")
    [site] = ats.sites(model, data)
    assert (site.taken, site.certainty, site.dims) == (True, "traced", ("sample", "query", "key"))
    assert dict(site.lineage) == {"sample": "samples", **dict.fromkeys(("query", "key"), "axis 1 of input 'x'")}
    exponentials = np.exp(np.einsum("btc,bsc->bts", data, data).astype("float64"))
    scores = ats.capture(model, data, progress=False)["site"]
    np.testing.assert_allclose(scores, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5)
