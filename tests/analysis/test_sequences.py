"""A rollout stays within one sequence, whatever the lengths are: here all sequences have one."""

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.errors import SchemaError


@pytest.fixture(scope="module")
def maps():
    """Two sequences of 4 positions: each attends to itself twice, then the first to the second."""
    first, second = keras.Input((4, 8), name="first"), keras.Input((4, 8), name="second")
    x, y = first, second
    for number in range(2):
        x = x + layers.MultiHeadAttention(2, 4, name=f"own_{number}")(x, x)
        y = y + layers.MultiHeadAttention(2, 4, name=f"other_{number}")(y, y)
    x = x + layers.MultiHeadAttention(2, 4, name="between")(x, y)
    inputs = list(np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype("float32"))
    return ats.capture(keras.Model([first, second], x), inputs, progress=False)


def test_sites_of_two_sequences_are_no_chain(maps):
    with pytest.raises(SchemaError) as error:
        ats.analysis.rollout(maps, sites=["own_0", "other_0"])
    assert str(error.value) == (
        "The site 'own_0' is over axis 1 of input 'first', but 'other_0' is over axis 1 of input 'second', and a "
        "rollout stays within one sequence. Name the sites that belong together: rollout(maps, sites=[...])."
    )


def test_cross_attention_between_sequences_of_one_length_is_no_self_attention(maps):
    with pytest.raises(SchemaError) as error:
        ats.analysis.rollout(maps, sites=["own_0", "between"])
    assert str(error.value) == (
        "At the site 'between' axis 1 of input 'first' attends to axis 1 of input 'second', but a rollout needs "
        "self-attention. Leave this site out: rollout(maps, sites=[...])."
    )


def test_the_sites_of_one_sequence_are_a_chain(maps):
    assert ats.analysis.rollout(maps, sites=["own_0", "own_1"]).sizes["layer"] == 2


def test_the_viewer_offers_a_rollout_for_each_sequence(maps):
    from attnscope.viewer._arrange import RolloutMaps, sites_of

    everything = sites_of([maps])
    roles = {site.name: site.role for site in everything if not isinstance(site, RolloutMaps)}
    assert roles == {"own_0": "self", "own_1": "self", "other_0": "self", "other_1": "self", "between": "cross"}
    chains = {each.name: [site.name for site in each.chain] for each in everything if isinstance(each, RolloutMaps)}
    assert chains == {
        "rollout over axis 1 of input 'first'": ["own_0", "own_1"],
        "rollout over axis 1 of input 'second'": ["other_0", "other_1"],
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("axis 1 of input 'a'", "axis 1 of input 'a'", True),
        ("axis 1 of inputs 'a' and 'b'", "axis 1 of input 'a'", True),
        ("units of 'token/units', then patches of input 'a'", "patches of input 'a'", True),
        ("axis 1 of input 'a'", "axis 2 of input 'a'", False),
        ("axis 1 of input 'a'", "axis 1 of input 'b'", False),
        ("units of 'latents'", "axis 1 of input 'a'", False),
    ],
)
def test_two_lineages_are_of_one_sequence_where_they_share_positions(one, other, same):
    from attnscope.schema import same_sequence

    assert same_sequence(one, other) is same
