"""What sites are called where there is little room."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import SchemaError
from attnscope.site_names import short_names, short_site_names, side_of

BERT = [f"bert_backbone/transformer_layer_{layer}/self_attention_layer" for layer in range(12)]
T5 = [
    *(f"t5_backbone/transformer_encoder_layer_{layer}/self_attention" for layer in range(2)),
    *(
        f"t5_backbone/transformer_decoder_layer_{layer}/{kind}_attention"
        for layer in range(2)
        for kind in ("self", "cross")
    ),
]


def numbered(form, numbers, **parts):
    return {form.format(number, **parts): f"layer {number}" for number in numbers}


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({name: f"layer {layer}" for layer, name in enumerate(BERT)}, id="a path with a number"),
        pytest.param(numbered("gemma_backbone/decoder_block_{}/attention", range(3)), id="a decoder alone"),
        pytest.param(numbered("vit_encoder/block{}_mha", (1, 2, 3)), id="numbers from 1, inside of a name"),
        pytest.param(numbered("hybrid/block_{}/mha", (0, 4, 8)), id="other layers between them"),
        pytest.param(numbered("layer_{}", range(11)), id="the names of arrays from elsewhere"),
        pytest.param(
            {
                "multi_head_attention": "layer 0",
                "multi_head_attention_1": "layer 1",
                "multi_head_attention_2": "layer 2",
            },
            id="names that Keras made",
        ),
        pytest.param(
            {f"block_{n}/multi_head_attention_{n + 5}": f"layer {n}" for n in range(2)},
            id="the outermost number counts",
        ),
        pytest.param(
            {"bert/layer_0/mha": "layer 0", "bert/layer_1/mha": "layer 1", "bert/pooler/attention": "attention"},
            id="layers and a pooling",
        ),
        pytest.param(
            {
                f"clip/{side}_encoder/block_{n}/mha": f"{side}_encoder layer {n}"
                for side in ("text", "vision")
                for n in range(2)
            },
            id="two encoders",
        ),
        pytest.param(
            {f"block_{n}/{way}": f"layer {n}, {way}" for n in range(2) for way in ("rows", "columns")},
            id="two in a block",
        ),
        pytest.param(
            {
                **{f"encoder_{n}/mha": f"layer {n}" for n in range(2)},
                **{f"encoder_{n}/mha#1": f"layer {n} #1" for n in range(2)},
            },
            id="layers that run on two inputs",
        ),
    ],
)
def test_a_site_is_called_by_the_number_of_its_layer(expected):
    assert short_names(list(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({"mha": "mha"}, id="one site"),
        pytest.param(
            {"albert/group/mha": "mha", **{f"albert/group/mha#{n}": f"mha#{n}" for n in range(1, 12)}}, id="a loop"
        ),
        pytest.param(
            {f"multi_head_attention_{n}": f"multi_head_attention_{n}" for n in (4, 5)}, id="another model's before"
        ),
        pytest.param({f"mha{n}": f"mha{n}" for n in ("", "_2")}, id="a number that counts attention only"),
        pytest.param({f"layer_{n}/mha": f"layer_{n}/mha" for n in (1, 0)}, id="in another order than they run"),
        pytest.param(
            {f"swin/stage_{s}/block_{b}/mha": f"stage_{s}/block_{b}/mha" for s in range(2) for b in range(2)},
            id="stages",
        ),
        pytest.param({"one/mha": "one/mha", "other/mha": "other/mha", "other/pool": "pool"}, id="shortest unique ends"),
        pytest.param({"x": "x", "mha/x": "mha/x"}, id="a path that is the end of another"),
        pytest.param(
            {"layer 1": "layer 1", "a/layer_0": "layer 0", "a/layer_1": "a/layer_1"}, id="a name like a short one"
        ),
        pytest.param({"a\u00b2/#": "#", "a1/x": "x", "a" + "7" * 9000: "a" + "7" * 9000}, id="odd numbers"),
    ],
)
def test_a_site_of_which_no_layer_can_be_said_has_the_shortest_end_of_its_path_that_is_its_own(expected):
    assert short_names(list(expected)) == expected
    assert len(set(expected.values())) == len(expected)


def test_the_sides_of_a_model_and_cross_attention_are_named_where_there_are_others():
    crosses = [name for name in T5 if "cross" in name]
    assert list(short_names(T5, crosses).values()) == [
        "encoder layer 0",
        "encoder layer 1",
        "decoder layer 0",
        "decoder layer 0, cross",
        "decoder layer 1",
        "decoder layer 1, cross",
    ]
    assert list(short_names(crosses, crosses).values()) == ["layer 0", "layer 1"]


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("T5/Encoder_0/mha", "encoder"),
        ("x/encoder_decoder/decoder_1", "decoder"),
        ("encoder_decoder", ""),
        ("bert", ""),
    ],
)
def test_the_side_is_the_innermost_that_a_path_names(path, side):
    assert side_of(path) == side


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({}, ["layer 0, self", "layer 0, other", "layer 1, self", "layer 1, other"]),
        (
            {"*": ("text", "text"), "*other": ("text", "picture")},
            ["layer 0", "layer 0, cross", "layer 1", "layer 1, cross"],
        ),
    ],
)
def test_cross_attention_is_named_where_it_is_known_and_not_where_sizes_differ(rng, roles, expected):
    size = {"self": (5, 5), "other": (5, 7)}
    arrays = {
        f"block_{n}/{kind}": rng.dirichlet(np.ones(size[kind][1]), (1, 2, size[kind][0]))
        for n in (0, 1)
        for kind in size
    }
    maps = ats.AttentionMaps.from_arrays(arrays, roles=roles)
    assert list(short_site_names(maps.sites).values()) == expected


def test_roles_are_by_patterns_of_sites():
    with pytest.raises(SchemaError) as raised:
        ats.AttentionMaps.from_arrays({"a": np.ones((1, 1, 1, 1))}, roles=("text", "text"))
    assert str(raised.value) == (
        "The roles are ('text', 'text'), but patterns of sites with two sequences each are needed, that of the queries "
        "first: roles={'*cross*': ('decoder', 'encoder')}."
    )
