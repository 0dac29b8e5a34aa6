"""What users get wrong in arguments: an error says what was given, what is needed, and the fix; compared whole."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import (
    DeclarationError,
    InputError,
    LabelError,
    MethodError,
    NoAttentionError,
    PatternError,
    SchemaError,
    UnsupportedError,
)
from models import padded_tokens, transformer


def message(kind, function, *args, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    return str(error.value)


WANTED = "names of sites or patterns of them are needed, or a function from a site to True or False"


@pytest.fixture(scope="module")
def model():
    return transformer()


@pytest.fixture(scope="module")
def tokens():
    return padded_tokens(np.random.default_rng(0))


def test_sites_are_asked_for_by_name(model, tokens):
    table = ats.sites(model)
    for given, kind, example in (
        (3, "an int", "'encoder_0/*'"),
        (table[0], "a Site", "'attention_0'"),
        (table, "a SiteTable", "['attention_0', 'attention_1', 'classes']"),
        (model.get_layer("attention_1"), "a MultiHeadAttention", "'attention_1'"),
        (layers.MultiHeadAttention, "the class MultiHeadAttention", "'encoder_0/*'"),
        ((name for name in ("attention_0",)), "a generator", "'encoder_0/*'"),
        (["attention_0", 1], "a list", "'encoder_0/*'"),
    ):
        for function in (ats.capture, ats.attribute):
            found = message(InputError, function, model, tokens, sites=given)
            assert found == f"sites is {kind}, but {WANTED}: sites={example}."


def test_where_no_site_is_chosen_the_model_is_not_said_to_have_no_attention(model, tokens):
    for nothing in ([], lambda site: False):
        assert message(NoAttentionError, ats.capture, model, tokens, sites=nothing) == (
            "No site was chosen, but the model has attention at 'attention_0', 'attention_1'. Leave sites out to "
            "capture all of it, or name some: sites='attention_0'."
        )


class ByHand(layers.Layer):
    def call(self, states):
        weights = ops.exp(ops.sum(states, axis=-1))
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        return ops.sum(weights[..., None] * states, axis=1)


def test_a_softmax_that_cannot_be_taken_is_not_to_be_asked_for_by_name():
    states = keras.Input((7, 4))
    model = keras.Model(states, ByHand(name="pool")(states))
    [site] = ats.sites(model)
    assert message(NoAttentionError, ats.capture, model, np.ones((3, 7, 4), "float32")) == (
        f"The model computes softmaxes, but the scores of none of them can be taken: 'pool' is left out: {site.reason}."
    )


def test_labels_of_a_site_go_to_its_queries_or_keys(model, tokens):
    assert message(LabelError, ats.capture, model, tokens, labels={"attention_0": {"keys": list("abcdefg")}}) == (
        "The labels for 'attention_0' are a dict with 'keys', but such a dict has names for the axes 'query' or 'key': "
        "labels={'attention_0': {'key': names}}."
    )


def test_a_layer_is_declared_by_its_class_and_what_is_refused_is_not_kept(model, tokens):
    for layer, kind, code in ((layers.Dense(3), "a Dense", "Dense"), (3, "an int", "LayerClass")):
        assert message(DeclarationError, ats.declare, layer, output=1, dims=("sample", "key")) == (
            f"The layer was declared as {kind}, but its class, its class's name or a pattern of site paths is needed: "
            f"ats.declare({code}, output=..., dims=('sample', 'key'))."
        )
    assert message(DeclarationError, ats.declare, layers.Dense, dims="key") == (
        "The dims are 'key', but one for each axis is needed: dims=('sample', 'query', 'key')."
    )
    assert list(ats.capture(model, tokens)) == ["attention_0", "attention_1"]


def test_numbers_beyond_the_vocabulary(model, tokens):
    wrong = tokens.copy()
    wrong[1, 2] = 99
    rows = next(layer for layer in model.layers if isinstance(layer, layers.Embedding))
    expected = (
        f"The input 'tokens' holds numbers up to 99, but the Embedding {rows.name!r} has only {rows.input_dim} rows, "
        f"for 0 to {rows.input_dim - 1}. Use the vocabulary that the model was trained with."
    )
    for function in (ats.capture, ats.attribute):
        assert message(InputError, function, model, wrong) == expected
    masked = {"method": "occlusion", "removal": ats.attribution.mask_token(99), "target": 0}
    assert message(InputError, ats.attribute, model, tokens, **masked) == expected
    outer = keras.Input((7,), dtype="int32", name="tokens")
    assert message(InputError, ats.capture, keras.Model(outer, model(outer)), wrong) == expected


def test_an_axis_that_keras_leaves_out_is_no_axis_of_positions(model, tokens):
    relevance = ats.attribute(model, tokens[..., None], target=0)
    assert relevance.dims == ("sample", "key")
    np.testing.assert_array_equal(relevance, ats.attribute(model, tokens, target=0))


def test_options_of_attribution(model, tokens):
    assert message(InputError, ats.attribute, model, tokens, padding="[PAD]") == (
        "padding is '[PAD]', but the number that stands for padding is needed: padding=0."
    )
    assert message(MethodError, ats.evidence, model, tokens, methods="raw", target=0, progress=False) == (
        "The methods are 'raw', but a list of their names is needed: methods=['raw']."
    )


def test_roles_are_two_sequences_and_a_grid_divides_the_picture(model, tokens):
    assert message(MethodError, ats.attribute, model, tokens, target=0, roles={"attention_0": "words"}) == (
        "The roles say 'words' for 'attention_0', but the names of two sequences are needed, that of the queries "
        "first: roles={'attention_0': ('decoder', 'encoder')}."
    )
    picture = keras.Input((8, 12, 3))
    pictures = keras.Model(picture, layers.Dense(1)(layers.Flatten()(picture)))
    for grid in (None, (3, 3), "4x6", (0, 1)):
        assert message(InputError, ats.attribute, pictures, np.ones((2, 8, 12, 3)), method="occlusion", grid=grid) == (
            "Pictures of 8 x 12 need a grid of patches that divides them, but "
            f"{repr(grid) if grid else 'none'} was given: grid=(2, 3) makes patches of 4 x 4."
        )


def test_a_declared_output_that_holds_no_weights_is_a_finding_with_the_fix():
    states = keras.Input((7, 4))
    model = keras.Model(states, ByHand(name="pool")(states))
    declaration = ats.declare(ByHand, dims=("sample", "key"))
    try:
        maps = ats.capture(model, np.full((3, 7, 4), 9, "float32"))
    finally:
        ats.undeclare(declaration)
    [finding] = [finding for finding in maps.findings if finding.kind == "row_sum"]
    assert finding.fix == (
        "the declared output does not hold weights after a softmax: declare the output that does, "
        "ats.declare(LayerClass, output=1, dims=(...)), or its axes in their order"
    )


def test_maps_are_asked_for_by_the_name_of_a_site(model, tokens):
    maps = ats.capture(model, tokens)
    assert message(PatternError, lambda: maps["atention_1"]) == (
        "There is no site 'atention_1' among the 2 that were captured. The nearest are: 'attention_1', 'attention_0'. "
        "All names: list(maps)."
    )
    assert maps.get(0) is None


def test_nothing_to_show_and_nothing_to_load(model):
    assert message(SchemaError, ats.view, None).startswith("The maps are None, but captured maps are needed: ")
    assert message(SchemaError, ats.plot.heatmap, None).startswith("The weights are None, but numbers are needed: ")
    assert message(UnsupportedError, ats.sites, None) == "The model is None, but a Keras 3 model is needed."
    assert message(UnsupportedError, ats.sites, keras.Model) == (
        "The model is the class Model, but a Keras 3 model is needed. Make one of it: Model(...)."
    )
    path = "but the path of a .keras or .h5 file is needed."
    assert message(InputError, ats.load_model, None) == f"The path is None, {path}"
    assert message(InputError, ats.load_model, model, "old.h5") == (
        f"The path is a Functional, {path} The path comes first: load_model(path, model)."
    )
    assert message(InputError, ats.load_model, "own.keras", custom_objects=[ByHand]) == (
        "custom_objects is a list, but a dict from names to what they stand for is needed: "
        "custom_objects={'Scaled': Scaled}."
    )
