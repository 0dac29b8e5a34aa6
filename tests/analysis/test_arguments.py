"""What is given in place of one array, or of the maps of all sites: an error lists the sites and says what to write."""

import inspect

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import attnscope as ats
from attnscope.errors import SchemaError

ARRAY = np.full((1, 2, 3, 3), 1 / 3)
MAPS = ats.AttentionMaps.from_arrays({"first": ARRAY, "second": ARRAY})
ONE = ats.AttentionMaps.from_arrays({"first": ARRAY})
DATASET = MAPS.dataset("first").assign(received=MAPS["first"].mean("query"))

OF_ONE_SITE = [
    "confidence",
    "duplicate_token_score",
    "entropy",
    "induction_score",
    "mass",
    "mean_distance",
    "previous_token_score",
    "sinks",
]
OF_MAPS = ["flow", "heads", "rollout"]
OF_BOTH = ["head_distance"]
OF_RESULTS = {
    "composition": "Make a rollout: rollout(maps, sites=[...]).",
    "head_clusters": "Compute their distances: head_distance(maps).",
}
NOT_OF_ARRAYS = ["rolled_out"]


def message(function, *args):
    more = {"mass": ("self",), "composition": ([], [])}.get(function.__name__, ())
    with pytest.raises(SchemaError) as caught:
        function(*args, *more)
    return str(caught.value)


def test_every_function_of_the_room_is_in_one_of_these_lists():
    functions = {name for name in ats.analysis.__all__ if inspect.isfunction(getattr(ats.analysis, name))}
    assert functions == {*OF_ONE_SITE, *OF_MAPS, *OF_BOTH, *OF_RESULTS, *NOT_OF_ARRAYS}


@pytest.mark.parametrize("name", OF_ONE_SITE)
def test_maps_of_all_sites_in_place_of_one(name):
    function = getattr(ats.analysis, name)
    expected = f"Maps of 2 sites were given ('first', 'second'), but {name} needs one array. Choose it: maps['first']."
    assert message(function, MAPS) == message(function, dict(MAPS)) == expected
    assert message(function, ONE) == (
        f"Maps of 1 site were given ('first'), but {name} needs one array. Choose it: maps['first']."
    )
    assert message(function, DATASET) == (
        f"A dataset of 2 variables was given ('scores', 'received'), but {name} needs one array. Choose it: "
        "dataset['scores']."
    )
    assert message(function, ARRAY) == (
        f"An array of shape (1, 2, 3, 3) was given, but {name} needs one with named axes. Name them: "
        "xr.DataArray(array, dims=('sample', 'head', 'query', 'key'))."
    )
    assert message(function, ARRAY.tolist()) == (
        f"A list was given, but {name} needs an array with named axes: maps['site'], of "
        "maps = ats.capture(model, inputs)."
    )


@pytest.mark.parametrize("name", OF_RESULTS)
def test_maps_in_place_of_what_is_computed_from_them(name):
    assert message(getattr(ats.analysis, name), MAPS) == (
        f"Maps of 2 sites were given ('first', 'second'), but {name} needs one array. {OF_RESULTS[name]}"
    )


@pytest.mark.parametrize("name", [*OF_MAPS, *OF_BOTH])
def test_something_else_in_place_of_all_maps(name):
    function = getattr(ats.analysis, name)
    needed = (
        f"was given, but {name} needs the maps of all sites, as ats.capture(model, inputs) gives them. To make maps"
    )
    if name not in OF_BOTH:
        assert message(function, MAPS["first"]) == (
            f"A DataArray with the dimensions ('sample', 'head', 'query', 'key') {needed} of arrays: "
            f"{name}(ats.AttentionMaps.from_arrays({{'site': array}}))."
        )
    assert message(function, dict(MAPS)) == (
        f"A dict of 2 arrays {needed} of arrays: {name}(ats.AttentionMaps.from_arrays(arrays))."
    )
    assert message(function, ARRAY) == (
        f"An ndarray {needed} of arrays: {name}(ats.AttentionMaps.from_arrays({{'site': array}}))."
    )


@pytest.mark.parametrize("name", ["heatmap", "links", "series", "tokens"])
def test_pictures_of_one_site(name):
    function = getattr(ats.plot, name)
    assert message(function, MAPS) == (
        "Maps of 2 sites were given ('first', 'second'), but this picture shows one. Choose it, maps['first'], or draw "
        "them all: ats.plot.heads(maps)."
    )


@pytest.mark.parametrize("name", ["heads", "heatmap", "links", "series", "tokens", "difference"])
def test_pictures_of_a_dataset(name):
    function = getattr(ats.plot, name)
    more = (DATASET,) if name == "difference" else ()
    with pytest.raises(SchemaError) as caught:
        function(DATASET, *more)
    assert str(caught.value) == (
        "A dataset of 2 variables was given ('scores', 'received'), but this picture shows one. Choose it: "
        "dataset['scores']."
    )


def test_a_dataset_of_one_variable_is_that_variable():
    ax = ats.plot.heatmap(MAPS.dataset("first"), ax=Figure().add_subplot())
    np.testing.assert_allclose(ax.images[0].get_array(), 1 / 3)


def test_words_of_a_dataset():
    assert message(ats.labels.words, DATASET) == (
        "A dataset of 2 variables was given ('scores', 'received'), but words needs captured maps, or one array. "
        "Choose it: dataset['scores']."
    )


def test_the_checks_leave_signatures_and_docs_as_they_are():
    assert list(inspect.signature(ats.analysis.entropy).parameters) == ["scores", "relative"]
    assert ats.analysis.entropy.__doc__.startswith("Shannon entropy")
    assert ats.analysis.entropy(scores=xr.DataArray([[1.0, 0.0]], dims=("query", "key"))).item() == 0


EMPTY = {"keys": (2, 3, 5, 0), "queries": (2, 3, 0, 5), "heads": (2, 0, 5, 5), "samples": (0, 3, 5, 5)}


@pytest.mark.parametrize("analyse", ["confidence", "head_distance", "heads", "rollout", "flow", "sinks"])
@pytest.mark.parametrize(("what", "shape"), EMPTY.items())
def test_of_maps_without_anything_it_is_said_that_there_is_nothing_to_see(analyse, what, shape):
    maps = ats.AttentionMaps.from_arrays({"mha": np.zeros(shape, "float32")})
    given = maps["mha"] if analyse in ("confidence", "sinks") else maps
    with pytest.raises(SchemaError) as raised:
        getattr(ats.analysis, analyse)(given)
    assert str(raised.value) == (
        f"Scores have dimensions ('sample', 'head', 'query', 'key') with shape {shape}, so there is nothing to see: "
        f"there are no {what}. Give maps with at least one of each."
    )
