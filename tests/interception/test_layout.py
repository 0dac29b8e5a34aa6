"""What each axis of a softmax is: every size a prime of its own."""

import numpy as np
import pytest
from keras import ops

from attnscope.interception._layout import layout_of

CASES = [
    # shape, key axes, batch, heads, attention axes -> dims, sizes
    ((3, 2, 5, 7), (-1,), 3, 2, 1, "sample head query key", (3, 2, 5, 7)),
    ((3, 5, 7), (-1,), 3, None, 1, "sample query key", (3, 5, 7)),
    ((3, 7), (-1,), 3, None, 1, "sample key", (3, 7)),
    ((3, 7, 1), (1,), 3, None, 1, "sample key", (3, 7)),
    ((3, 7, 5), (1,), 3, None, 1, "sample query key", (3, 5, 7)),
    ((3, 2, 5, 11, 7), (-1,), 3, 10, 1, "sample head query key", (3, 10, 11, 7)),
    ((33, 2, 5, 7), (-1,), 3, 2, 1, "sample window head query key", (3, 11, 2, 5, 7)),
    ((6, 5, 7), (-1,), 3, 2, 1, "sample head query key", (3, 2, 5, 7)),
    ((66, 5, 7), (-1,), 3, 2, 1, "sample window head query key", (3, 11, 2, 5, 7)),
    ((3, 5, 2, 7), (-1,), 3, 2, 1, "sample query head key", (3, 5, 2, 7)),
    (
        (3, 2, 5, 7, 11, 13),
        (-2, -1),
        3,
        2,
        2,
        "sample head query_0 query_1 key_0 key_1",
        (3, 2, 5, 7, 11, 13),
    ),
    ((1, 2, 5, 7), (-1,), 3, 2, 1, "sample head query key", (1, 2, 5, 7)),
]


@pytest.mark.parametrize(("shape", "keys", "batch", "heads", "axes", "dims", "sizes"), CASES)
def test_dims_and_sizes(shape, keys, batch, heads, axes, dims, sizes):
    layout = layout_of(shape, keys, batch, heads, axes)
    assert layout.dims == tuple(dims.split())
    assert layout.shape == sizes
    tensor = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    arranged = layout.arrange(ops.convert_to_tensor(tensor))
    assert tuple(arranged.shape) == sizes
    np.testing.assert_array_equal(ops.convert_to_numpy(layout.restore(arranged, shape)), tensor)


def test_a_first_axis_that_is_no_multiple_of_the_batch_has_no_layout():
    assert layout_of((7, 2, 5, 5), (-1,), 3, 2) is None


def test_copies_of_the_batch_are_told_from_windows():
    tensor = np.arange(6 * 2 * 5 * 7, dtype="float32").reshape(6, 2, 5, 7)
    windows = layout_of(tensor.shape, (-1,), 3, 2)
    copies = layout_of(tensor.shape, (-1,), 3, 2, window_first=True)
    for layout, row in ((windows, 2 * 1 + 1), (copies, 1 * 3 + 1)):
        arranged = layout.arrange(ops.convert_to_tensor(tensor))
        np.testing.assert_array_equal(ops.convert_to_numpy(arranged)[1, 1], tensor[row])
        np.testing.assert_array_equal(ops.convert_to_numpy(layout.restore(arranged, tensor.shape)), tensor)
