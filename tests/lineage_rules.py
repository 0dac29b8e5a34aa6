"""Rules that make sequences, and rules that make others of them, each with where the positions come from."""

from __future__ import annotations

import numpy as np
from keras import layers, ops

from lineage_layers import Positions, Units
from lineage_streams import (
    Draft,
    Origin,
    Stream,
    added,
    axis_of,
    behind,
    flattened,
    of_stream,
    part_of,
    patches_of,
    reversed_of,
    units_of,
)

# Where sequences come from. Each takes the number of positions that it should have.


def words(draft: Draft, length: int) -> Stream:
    name, masked = draft.name("words"), draft.often()
    valid = draft.padding(draft.samples, length) if masked else draft.everything(length)
    numbers = np.where(valid, draft.numbers.integers(1, 9, valid.shape), 0).astype("int32")
    if masked and draft.embedding is not None and draft.often():
        embedding = draft.embedding
    else:
        embedding = layers.Embedding(9, draft.width, mask_zero=masked)
        draft.embedding = embedding if masked else draft.embedding
    tensor = embedding(draft.input(name, numbers))
    return Stream(tensor, axis_of(name, 1), valid, f"{name}[{length}{' masked' if masked else ''}]")


def series(draft: Draft, length: int) -> Stream:
    name, features = draft.name("series"), draft.size()
    tensor = layers.Dense(draft.width)(draft.input(name, draft.floats(length, features)))
    return Stream(tensor, axis_of(name, 1), draft.everything(length), f"{name}[{length}, {features}]")


def masked_series(draft: Draft, length: int) -> Stream:
    name, features = draft.name("gaps"), draft.size()
    valid = draft.padding(draft.samples, length)
    numbers = np.where(valid[..., None], draft.floats(length, features), np.float32(-1))
    tensor = layers.Dense(draft.width)(layers.Masking(-1.0)(draft.input(name, numbers)))
    return Stream(tensor, axis_of(name, 1), valid, f"{name}[{length}, {features} masked]")


def features_as_positions(draft: Draft, length: int) -> Stream:
    name, steps = draft.name("turned"), draft.size()
    tensor = layers.Dense(draft.width)(layers.Permute((2, 1))(draft.input(name, draft.floats(steps, length))))
    return Stream(tensor, axis_of(name, 2), draft.everything(length), f"{name}[{steps}, {length}]")


def columns(draft: Draft, length: int) -> Stream:
    name = draft.name("table")
    tensor = layers.Dense(draft.width)(layers.Reshape((length, 1))(draft.input(name, draft.floats(length))))
    return Stream(tensor, axis_of(name, 1), draft.everything(length), f"{name}[{length}]")


def patches_of_series(draft: Draft, length: int) -> Stream:
    name, size = draft.name("signal"), draft.size()
    tensor = layers.Conv1D(draft.width, size, strides=size)(
        draft.input(name, draft.floats(length * size, draft.size()))
    )
    return Stream(tensor, patches_of(axis_of(name, 1)), draft.everything(length), f"{name}[{length} patches of {size}]")


def patches_by_reshape(draft: Draft, length: int) -> Stream:
    """Patches that a reshape cuts, with their positions as features: they are still positions of that axis."""
    name, size = draft.name("frames"), draft.size()
    tensor = layers.Dense(draft.width)(layers.Reshape((length, size))(draft.input(name, draft.floats(length * size))))
    return Stream(tensor, axis_of(name, 1), draft.everything(length), f"{name}[{length} frames of {size}]")


def picture(draft: Draft, length: int) -> Stream:
    name, (rows, columns), size = draft.name("picture"), (length // 2, 2) if length == 4 else (length, 1), draft.size()
    shape = (rows * size, columns * size, draft.size())
    patches = layers.Conv2D(draft.width, size, strides=size)(draft.input(name, draft.floats(*shape)))
    tensor = layers.Reshape((rows * columns, draft.width))(patches)
    origin = Origin((("patches", f" of input {name!r}"),))
    return Stream(tensor, origin, draft.everything(length), f"{name}[{rows} x {columns} patches of {size}]")


def bag(draft: Draft, length: int) -> Stream:
    features = draft.size()
    vectors = [draft.input(draft.name("vector"), draft.floats(features)) for _ in range(length)]
    tensor = layers.Dense(draft.width)(ops.stack(vectors, axis=1))
    origin = Origin(((f"{length} tensors, stacked", ""),))
    return Stream(tensor, origin, draft.everything(length), f"bag[{length}, {features}]")


def grid_flattened(draft: Draft, length: int) -> Stream:
    name, other = draft.name("grid"), draft.size()
    x = layers.Dense(draft.width)(draft.input(name, draft.floats(length, other, draft.size())))
    first, second = axis_of(name, 1), axis_of(name, 2)
    if draft.often():
        x, first, second = layers.Permute((2, 1, 3))(x), second, first
    tensor = layers.Reshape((length * other, draft.width))(x)
    return Stream(tensor, flattened(first, second), draft.everything(length * other), f"{name}[{length} x {other}]")


def limited_by_an_input(draft: Draft, length: int) -> Stream:
    """A series with a mask among the inputs, which its own attention is given."""
    stream = series(draft, length)
    name, valid = f"{draft.name('side')}_padding_mask", draft.padding(draft.samples, length)
    limit, heads, size = draft.input(name, valid), draft.size(), draft.size()
    site = draft.site(
        draft.name("limited"),
        f"MultiHeadAttention({heads}, {size}) over {stream.text}, attention_mask={name}",
        "sample head query key",
        {"query": of_stream("query", valid), "key": of_stream("key", valid)},
        query=stream.origin,
        key=stream.origin,
    )
    x = layers.MultiHeadAttention(heads, size, name=site)(
        stream.tensor, stream.tensor, attention_mask=limit[:, None, :]
    )
    draft.with_heads(f"{site}/query/kernel", f"{site}/key/kernel")
    return stream.after(x, "limited", valid=valid)


SOURCES = (
    words,
    words,
    words,
    series,
    masked_series,
    features_as_positions,
    columns,
    patches_of_series,
    patches_by_reshape,
    picture,
    bag,
    grid_flattened,
    limited_by_an_input,
)


# What happens to a sequence. Each gives None where it does not fit.


def dense(draft: Draft, x: Stream) -> Stream:
    return x.after(layers.Dense(draft.width)(x.tensor), "dense")


def normalised(draft: Draft, x: Stream) -> Stream:
    return x.after(layers.LayerNormalization()(x.tensor), "norm")


def with_positions(draft: Draft, x: Stream) -> Stream:
    return x.after(Positions()(x.tensor), "positions")


def recurrent(draft: Draft, x: Stream) -> Stream:
    layer = draft.random.choice((layers.GRU, layers.LSTM))
    units, both = draft.size(), draft.often()
    cell = layer(units, return_sequences=True)
    states = (layers.Bidirectional(cell) if both else cell)(x.tensor)
    return x.after(layers.Dense(draft.width)(states), f"{'both ways ' if both else ''}{layer.__name__}[{units}]")


def convolved(draft: Draft, x: Stream) -> Stream:
    return x.after(layers.Conv1D(draft.width, 3, padding="same")(x.tensor), "conv")


def each_by_itself(draft: Draft, x: Stream) -> Stream:
    return x.after(layers.TimeDistributed(layers.Dense(draft.width))(x.tensor), "each dense")


def there_and_back(draft: Draft, x: Stream) -> Stream:
    """Axes joined and split again, or turned and turned back."""
    if draft.often():
        joined = layers.Reshape((x.length * draft.width,))(x.tensor)
        return x.after(layers.Reshape((x.length, draft.width))(joined), "flat and back")
    return x.after(layers.Permute((2, 1))(layers.Permute((2, 1))(x.tensor)), "turned and back")


def taken_apart(draft: Draft, x: Stream) -> Stream:
    """Cut into positions or parts that are put together again."""
    if draft.often():
        return x.after(ops.stack(ops.unstack(x.tensor, axis=1), axis=1), "unstacked and stacked")
    cut = draft.random.randrange(1, x.length)
    parts = [x.tensor[:, :cut], x.tensor[:, cut:]]
    return x.after(ops.concatenate(parts, axis=1), f"cut at {cut} and joined")


def residual(draft: Draft, x: Stream) -> Stream:
    inner = layers.Dense(draft.width, activation="relu")(x.tensor)
    return x.after(layers.Add()([x.tensor, inner]) if draft.often() else x.tensor + inner, "residual")


def windowed(draft: Draft, x: Stream) -> Stream | None:
    """Windows that leave fewer positions than there were."""
    if x.length < 3 or not x.origin.is_plain:
        return None
    if x.length == 4 and draft.often():
        tensor = layers.AveragePooling1D(2)(x.tensor)
    else:
        tensor = layers.Conv1D(draft.width, 2)(x.tensor)
    valid = draft.everything(int(tensor.shape[1])) if x.valid is not None and x.valid.all() else None
    return x.after(tensor, "windows", origin=patches_of(x.origin), valid=valid)


def sliced(draft: Draft, x: Stream) -> Stream | None:
    if x.length < 3 or not x.origin.is_plain:
        return None
    part = draft.random.choice((slice(1, None), slice(None, -1), slice(None, None, 2)))
    valid = None if x.valid is None else x.valid[:, part]
    if valid is not None and not valid.any(axis=1).all():
        valid = None  # nothing but padding is left in a sample
    return x.after(x.tensor[:, part], f"{part.start}:{part.stop}:{part.step}", origin=part_of(x.origin), valid=valid)


def turned_round(draft: Draft, x: Stream) -> Stream | None:
    """From the last position to the first: all of them, in another order."""
    if not x.origin.is_plain:
        return None
    valid = None if x.valid is None else x.valid[:, ::-1]
    return x.after(ops.flip(x.tensor, axis=1), "flip", origin=reversed_of(x.origin), valid=valid)


def with_class_token(draft: Draft, x: Stream) -> Stream:
    name, by = draft.name("token"), draft.random.choice(("repeat", "tile", "broadcast"))
    token = Units(1, by, name=name)(x.tensor)
    tensor = ops.concatenate([token, x.tensor], axis=1)
    valid = None if x.valid is None else np.concatenate([draft.everything(1), x.valid], axis=1)
    return x.after(tensor, f"token by {by}", origin=behind(units_of(f"{name}/units"), x.origin), valid=valid)


def with_another_behind(draft: Draft, x: Stream) -> Stream:
    y = draft.random.choice(draft.streams)
    both = [x.tensor, y.tensor]
    by_layer = draft.often() and all(_is_masked_as_known(each) for each in (x, y))
    tensor = layers.Concatenate(axis=1)(both) if by_layer else ops.concatenate(both, axis=1)
    known = x.valid is not None and y.valid is not None
    return Stream(
        tensor,
        behind(x.origin, y.origin),
        np.concatenate([x.valid, y.valid], axis=1) if known else None,
        f"{x.text} + {y.text}",
        (x, y),
    )


def _is_masked_as_known(x: Stream) -> bool:
    """Whether Keras has a mask for what is padded: a layer puts one without padding in the place of what it lost."""
    return x.valid is not None and bool(x.valid.all() or getattr(x.tensor, "_keras_mask", None) is not None)


def cut_at_the_seam(draft: Draft, x: Stream) -> Stream | None:
    if not x.pieces:
        return None
    one, other = ops.split(x.tensor, [x.pieces[0].length], axis=1)
    draft.ends.extend((one, other))
    return x.pieces[0].after(one, "cut at the seam") if draft.often() else x.pieces[1].after(other, "cut at the seam")


def with_another_added(draft: Draft, x: Stream) -> Stream | None:
    """Two sequences of one length, added or put beside each other position by position."""
    fitting = [y for y in draft.streams if y.length == x.length and y.origin.is_plain and y.origin != x.origin]
    if not fitting or not x.origin.is_plain:
        return None
    y = draft.random.choice(fitting)
    beside = ops.concatenate([x.tensor, y.tensor], axis=-1)
    tensor = x.tensor + y.tensor if draft.often() else layers.Dense(draft.width)(beside)
    whole = all(each.valid is not None and each.valid.all() for each in (x, y))
    valid = draft.everything(x.length) if whole else None
    return Stream(tensor, added(x.origin, y.origin), valid, f"({x.text} and {y.text}, one by one)")


MOVES = (
    dense,
    normalised,
    with_positions,
    recurrent,
    convolved,
    each_by_itself,
    there_and_back,
    taken_apart,
    residual,
    windowed,
    sliced,
    turned_round,
    with_class_token,
    with_another_behind,
    cut_at_the_seam,
    with_another_added,
)
