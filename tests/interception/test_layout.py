"""How a tensor with split, moved and folded axes becomes labelled scores and back; and what sizes alone suggest."""

import numpy as np
import pytest
from keras import ops

from attnscope.interception._layout import Layout, layout_by_size

BY_SIZE = [
    # shape, key axes, batch, heads -> dims, sizes
    ((3, 2, 5, 7), (-1,), 3, 2, "sample head query key", (3, 2, 5, 7)),
    ((3, 5, 7), (-1,), 3, None, "sample query key", (3, 5, 7)),
    ((3, 7), (-1,), 3, None, "sample key", (3, 7)),
    ((3, 7, 1), (1,), 3, None, "sample key", (3, 7)),
    ((3, 7, 5), (1,), 3, None, "sample query key", (3, 5, 7)),
    ((3, 2, 5, 11, 7), (-1,), 3, 10, "sample head query key", (3, 10, 11, 7)),
    ((33, 2, 5, 7), (-1,), 3, 2, "sample window head query key", (3, 11, 2, 5, 7)),
    ((6, 5, 7), (-1,), 3, 2, "sample head query key", (3, 2, 5, 7)),
    ((66, 5, 7), (-1,), 3, 2, "sample window head query key", (3, 11, 2, 5, 7)),
    ((1, 2, 5, 7), (-1,), 3, 2, "sample head query key", (1, 2, 5, 7)),
]

LAYOUTS = [
    # axes, dims, sizes, and how NumPy makes it
    (
        ((("query", 5),), (("sample", 3), ("head", 2)), (("key", 7),)),
        ("sample", "head", "query", "key"),
        lambda array: array.reshape(5, 3, 2, 7).transpose(1, 2, 0, 3),
    ),
    (
        ((("window", 4), ("sample", 3)), (("query", 5),), (("key", 7),)),
        ("sample", "window", "query", "key"),
        lambda array: array.reshape(4, 3, 5, 7).transpose(1, 0, 2, 3),
    ),
    (
        ((("sample", 3),), (("head", 2),), (("query", 5),), (("head", 4),), (("key", 7),)),
        ("sample", "head", "query", "key"),
        lambda array: array.transpose(0, 1, 3, 2, 4).reshape(3, 8, 5, 7),
    ),
    (((("sample", 3),), (("key", 7),), ()), ("sample", "key"), lambda array: array.reshape(3, 7)),
    (((("key", 7),),), ("sample", "key"), lambda array: array.reshape(1, 7)),
]


@pytest.mark.parametrize(("shape", "keys", "batch", "heads", "dims", "sizes"), BY_SIZE)
def test_dims_that_sizes_suggest(shape, keys, batch, heads, dims, sizes):
    layout = layout_by_size(shape, keys, batch, heads)
    assert layout.dims == tuple(dims.split())
    assert layout.shape == sizes
    tensor = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    arranged = layout.arrange(ops.convert_to_tensor(tensor))
    assert tuple(arranged.shape) == sizes
    np.testing.assert_array_equal(ops.convert_to_numpy(layout.restore(arranged, shape)), tensor)


def test_a_first_axis_that_is_no_multiple_of_the_batch_suggests_nothing():
    assert layout_by_size((7, 2, 5, 5), (-1,), 3, 2) is None


@pytest.mark.parametrize(("axes", "dims", "by_numpy"), LAYOUTS)
def test_axes_are_split_moved_and_joined(axes, dims, by_numpy):
    layout = Layout(axes, dims)
    shape = tuple(int(np.prod([size for _, size in parts])) for parts in axes)
    array = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    arranged = ops.convert_to_numpy(layout.arrange(ops.convert_to_tensor(array)))
    np.testing.assert_array_equal(arranged, by_numpy(array))
    assert layout.shape == arranged.shape
    np.testing.assert_array_equal(ops.convert_to_numpy(layout.restore(arranged, shape)), array)


def test_a_layout_for_other_samples_and_lengths():
    layout = Layout(((("sample", 2), ("head", 4)), (("query", 5),), (("key", 7),)), ("sample", "head", "query", "key"))
    assert layout.at((12, 6, 9), 3).shape == (3, 4, 6, 9)
    assert layout.at((13, 6, 9), 3) is None
    assert layout.at((12, 6), 3) is None
