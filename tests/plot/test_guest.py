"""Pictures in axes of the user's: letters of a fitting size, and nothing outside their part of the figure."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import attnscope as ats
from drawings import drawn, scores, title

WORDS = ["a word of more than twenty-four letters", "good", "plot", ",", "thin", "!"]


def relevance(rng, samples=5):
    names = ("key", np.array(WORDS))
    return xr.DataArray(
        rng.normal(size=(samples, len(WORDS))),
        dims=("sample", "key"),
        name="relevance",
        coords={"key_label": names, "base": ("sample", np.zeros(samples)), "answer": ("sample", np.ones(samples))},
        attrs={"method": "integrated_gradients", "units": "probability", "target": "class 'positive'"},
    )


def attention(rng):
    names = np.array(WORDS)
    return xr.DataArray(
        scores(rng, 6, 6),
        dims=("query", "key"),
        name="scores",
        coords={"query_label": ("query", names), "key_label": ("key", names)},
        attrs={"site": "a/path/to/layer_3", "short_name": "layer 3"},
    )


PICTURES = {
    "heatmap": lambda rng, ax: ats.plot.heatmap(attention(rng), ax=ax),
    "links": lambda rng, ax: ats.plot.links(attention(rng), ax=ax),
    "bars": lambda rng, ax: ats.plot.bars(relevance(rng), ax=ax),
    "beeswarm": lambda rng, ax: ats.plot.beeswarm(relevance(rng), ax=ax),
    "importance": lambda rng, ax: ats.plot.importance(relevance(rng), ax=ax),
    "tokens": lambda rng, ax: ats.plot.tokens(relevance(rng, 2), ax=ax),
}


def covered(ax, others):
    """What a picture covers of its figure, from 0 to 1: left, bottom, right, top."""
    figure = drawn(ax).figure
    boxes = [one.get_tightbbox() for one in figure.axes if one not in others]
    boxes += [note.get_window_extent() for note in ax.texts if note.get_gid() == "remarks"]
    ends = np.array([box.extents for box in boxes])
    return np.concatenate([ends[:, :2].min(0), ends[:, 2:].max(0)]) / np.tile(figure.bbox.size, 2)


@pytest.mark.parametrize("name", PICTURES)
def test_without_a_layout_a_picture_stays_within_its_part_of_the_figure(rng, name):
    alone = Figure((3.4, 2.6)).add_subplot()
    PICTURES[name](rng, alone)
    assert (covered(alone, [])[:2] >= 0).all() and (covered(alone, [])[2:] <= 1).all()
    figure = Figure((7.1, 2.8))
    left, right = figure.subplots(1, 2)
    place, middle = left.get_position().bounds, (left.get_position().x1 + right.get_position().x0) / 2
    PICTURES[name](rng, right)
    ends = covered(right, [left])
    assert ends[0] >= middle and (ends[2:] <= 1).all() and ends[1] >= 0
    assert left.get_position().bounds == place and all(one.get_in_layout() for one in figure.axes)


def test_axes_with_room_stay_where_they_are(rng):
    ax = Figure((12, 10)).add_axes((0.3, 0.3, 0.4, 0.4))
    place = ax.get_position().bounds
    ats.plot.importance(relevance(rng), ax=ax)
    assert ax.get_position().bounds == place


def test_letters_are_smaller_in_small_axes_and_never_below_six_points(rng):
    def sizes(width, height):
        ax = drawn(ats.plot.heatmap(scores(rng, 4, 4), ax=Figure((width, height), layout="constrained").add_subplot()))
        return [label.get_fontsize() for label in (ax.get_yticklabels()[0], ax.yaxis.label)]

    large, small, smallest = sizes(6, 5), sizes(3.4, 2.6), sizes(2, 2)
    assert all(one < other for one, other in zip(small, large, strict=True))
    np.testing.assert_allclose(smallest, [6.0, 7.2], atol=0.05)


def test_a_title_has_the_short_name_of_the_site(rng):
    maps = ats.AttentionMaps.from_arrays({f"model/block_{n}/attention": scores(rng, 1, 2, 4, 4) for n in range(2)})
    assert title(ats.plot.heatmap(maps["model/block_1/attention"], ax=Figure().add_subplot())) == "layer 1"
    assert maps["model/block_1/attention"].attrs["site"] == "model/block_1/attention"
    ax = ats.plot.heads(maps, ax=Figure().add_subplot())
    assert [label.get_text() for label in drawn(ax).get_yticklabels()] == ["layer 0", "layer 1"]


def test_a_row_without_a_name_has_no_tick(rng):
    ax = ats.plot.heatmap(relevance(rng), sample=1, ax=Figure().add_subplot())
    assert drawn(ax).get_yticklabels() == []
