"""Rules that make attention, each with what is known of the site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import xarray as xr
from keras import layers, ops

from lineage_layers import EinsumAttention, FoldedHeads, Form, Pool, PoolEachSample, StepByStep, Units, Windows, orders
from lineage_rules import series, words
from lineage_streams import Draft, KnownSite, Stream, axis_of, of_stream, units_of

# Attention of `q` to `k`. Each gives what comes out: a sequence of the queries, or None where it pools.


def valid_of(q: Stream, k: Stream) -> dict[str, xr.DataArray | None]:
    return {"query": of_stream("query", q.valid), "key": of_stream("key", k.valid)}


def multi_head(draft: Draft, q: Stream, k: Stream) -> Stream:
    heads, size, dropout = draft.size(), draft.size(), draft.random.choice((0.0, 0.1))
    causal = q is k and draft.often()
    own_value = draft.often()
    rule = f"MultiHeadAttention({heads}, {size}, dropout={dropout}, causal={causal}, own value={own_value})"
    site = draft.site(
        draft.name("mha"),
        f"{rule} of {q.text} to {k.text}",
        "sample head query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    layer = layers.MultiHeadAttention(heads, size, dropout=dropout, name=site)
    value = layers.Dense(draft.width)(k.tensor) if own_value else k.tensor
    out = layer(q.tensor, value, key=k.tensor, use_causal_mask=causal)
    draft.with_heads(f"{site}/query/kernel", f"{site}/key/kernel")
    return q.after(out, site)


def grouped_query(draft: Draft, q: Stream, k: Stream) -> Stream:
    groups, each, size = draft.size(), draft.size(), draft.size()
    site = draft.site(
        draft.name("gqa"),
        f"GroupQueryAttention({size}, {groups * each}, {groups}) of {q.text} to {k.text}",
        "sample head query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    out = layers.GroupQueryAttention(size, groups * each, groups, name=site)(q.tensor, k.tensor)
    draft.with_heads(f"{site}/query/kernel", f"{site}/key/kernel")
    return q.after(out, site)


def of_keras_without_heads(draft: Draft, q: Stream, k: Stream) -> Stream:
    kind = draft.random.choice((layers.Attention, layers.AdditiveAttention))
    site = draft.site(
        draft.name("keras_attention"),
        f"{kind.__name__} of {q.text} to {k.text}",
        "sample query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    return q.after(kind(name=site)([q.tensor, k.tensor]), site)


def dot_products(draft: Draft, q: Stream, k: Stream) -> Stream:
    site = draft.site(
        draft.name("products"),
        f"Dot of {q.text} to {k.text}",
        "sample query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    weights = layers.Activation("softmax", name=site)(layers.Dot(axes=-1)([q.tensor, k.tensor]))
    return q.after(layers.Dot(axes=(2, 1))([weights, k.tensor]), site)


FORMS = {
    "no heads": ("btd", "bsd", "bsd", "bts", "btd"),
    "heads": ("bthd", "bshd", "bshd", "bths", "bthd"),
    "heads of the queries alone": ("bthd", "bsd", "bsd", "bths", "bthd"),
    "heads of queries and keys alone": ("bthd", "bshd", "bsd", "bths", "bthd"),
    "groups of heads": ("btgid", "bsgd", "bsgd", "btgis", "btgid"),
}


def einsum(draft: Draft, q: Stream, k: Stream) -> Stream:
    kind = draft.random.choice(list(FORMS))
    query, key, value, scores, context = FORMS[kind]
    form = Form("btc", "bsc", query, key, value, draft.random.choice(orders(scores)), context)
    has_heads = len(scores) > 3
    site = draft.site(
        draft.name("einsum"),
        f"einsum with {kind}, scores {form.scores}, of {q.text} to {k.text}",
        "sample head query key" if has_heads else "sample query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    if has_heads:
        draft.with_heads(f"{site}/query", f"{site}/key")
    sizes = {"c": draft.width, "h": draft.size(), "d": draft.size(), "g": draft.size(), "i": draft.size()}
    return q.after(EinsumAttention(form, sizes, name=site)(q.tensor, k.tensor), site)


def folded_heads(draft: Draft, q: Stream, k: Stream) -> Stream:
    heads, size, outer = draft.size(), draft.size(), draft.random.choice(("samples", "heads"))
    site = draft.site(
        draft.name("folded"),
        f"{heads} heads of {size} folded, {outer} outside, of {q.text} to {k.text}",
        "sample head query key",
        valid_of(q, k),
        query=q.origin,
        key=k.origin,
    )
    if outer == "samples":
        draft.with_heads(f"{site}/query", f"{site}/key")
    return q.after(FoldedHeads(heads, size, outer, name=site)(q.tensor, k.tensor), site)


def learned_queries(draft: Draft, q: Stream, k: Stream) -> Stream:
    heads = draft.often()
    query, key, scores, context = ("nhd", "bshd", "bnhs", "bnhd") if heads else ("nd", "bsd", "bns", "bnd")
    form = Form("", "bsc", query, key, key, draft.random.choice(orders(scores)), context)
    sizes = {"c": draft.width, "h": draft.size(), "d": draft.size(), "n": draft.size()}
    everything = draft.everything(sizes["n"])
    site = draft.name("learned")
    origin = units_of(f"{site}/query")
    draft.site(
        site,
        f"{sizes['n']} learned queries, scores {form.scores}, to {k.text}",
        "sample head query key" if heads else "sample query key",
        {"query": of_stream("query", everything), "key": of_stream("key", k.valid)},
        query=origin,
        key=k.origin,
    )
    if heads:
        draft.with_heads(f"{site}/query", f"{site}/key")
    out = EinsumAttention(form, sizes, name=site)(k.tensor)
    return Stream(out, origin, everything, site)


def latents(draft: Draft, q: Stream, k: Stream) -> Stream:
    name, count, by = draft.name("latents"), draft.size(), draft.random.choice(("repeat", "tile", "broadcast"))
    tensor = Units(count, by, name=name)(k.tensor)
    latent = Stream(tensor, units_of(f"{name}/units"), draft.everything(count), f"{name}[{count} by {by}]")
    return draft.random.choice((multi_head, of_keras_without_heads))(draft, latent, k)


def hops(draft: Draft, q: Stream, k: Stream) -> Stream:
    """Several weightings of one sequence: columns of a layer's output, each a softmax over the positions."""
    count = draft.size()
    scorer = layers.Dense(count, name=draft.name("scorer"))
    origin, everything = units_of(f"{scorer.name}/kernel"), draft.everything(count)
    site = draft.site(
        draft.name("hops"),
        f"{count} hops over {k.text}",
        "sample query key",
        {"query": of_stream("query", everything), "key": of_stream("key", k.valid)},
        query=origin,
        key=k.origin,
    )
    weights = layers.Softmax(axis=1, name=site)(_without_mask(scorer(k.tensor)))
    return Stream(ops.einsum("bsn,bsc->bnc", weights, k.tensor), origin, everything, site)


def _without_mask(x: keras.KerasTensor) -> keras.KerasTensor:
    """Without its Keras mask (sample, position), which a `Softmax` layer would lay along the last two axes."""
    return ops.multiply(x, 2.0)


def pooling(draft: Draft, q: Stream, k: Stream) -> None:
    by = draft.random.choice(("einsum", "product", "matmul", "softmax layer", "flatten and dot", "repeat and permute"))
    dims = "sample query key" if by == "matmul" else "sample key"  # a row for each sample has one query
    site = draft.site(
        draft.name("pool"), f"pooling by {by} of {k.text}", dims, {"key": of_stream("key", k.valid)}, key=k.origin
    )
    draft.ends.append(_pooled(draft, by, k.tensor, site))


def _pooled(draft: Draft, by: str, x: keras.KerasTensor, site: str) -> keras.KerasTensor:
    if by in ("einsum", "product", "matmul"):
        return Pool(by, name=site)(x)
    logits = layers.Dense(1, activation="tanh")(x)
    if by == "softmax layer":
        return ops.sum(layers.Softmax(axis=1, name=site)(_without_mask(logits)) * x, axis=1)
    weights = layers.Activation("softmax", name=site)(layers.Flatten()(logits))
    if by == "flatten and dot":
        return layers.Dot(axes=1)([weights, x])
    repeated = layers.Permute((2, 1))(layers.RepeatVector(draft.width)(weights))
    return ops.sum(layers.Multiply()([x, repeated]), axis=1)


def pooling_with_heads(draft: Draft, q: Stream, k: Stream) -> None:
    form = Form("", "bsc", "hd", "bshd", "bshd", draft.random.choice(orders("bhs")), "bhd")
    site = draft.site(
        draft.name("pool"),
        f"pooling with heads, scores {form.scores}, of {k.text}",
        "sample head key",
        {"key": of_stream("key", k.valid)},
        key=k.origin,
    )
    draft.with_heads(f"{site}/query", f"{site}/key")
    sizes = {"c": draft.width, "h": draft.size(), "d": draft.size()}
    draft.ends.append(EinsumAttention(form, sizes, name=site)(k.tensor))


def pooling_each_sample(draft: Draft, q: Stream, k: Stream) -> None:
    by = draft.random.choice(("map", "map", "vectorized_map"))
    site = draft.site(
        draft.name("each"),
        f"pooling by ops.{by} of {k.text}",
        "sample key",
        {"key": of_stream("key", k.valid)},
        key=k.origin,
    )
    draft.ends.append(PoolEachSample(by, name=site)(k.tensor))


def step_by_step(draft: Draft, q: Stream, k: Stream) -> Stream:
    site = draft.site(
        draft.name("steps"),
        f"a loop over {q.text} that pools {k.text}",
        "sample step key",
        {"key": of_stream("key", k.valid)},
        step=q.origin,
        key=k.origin,
    )
    return q.after(StepByStep(name=site)(q.tensor, k.tensor), site)


# Attention that brings its own input, as it is not over one sequence.


def axial(draft: Draft) -> None:
    """Along one of two axes, for each position of the other."""
    name, first, second = draft.name("grid"), draft.size(), draft.size()
    x = layers.Dense(draft.width)(draft.input(name, draft.floats(first, second, draft.size())))
    along, across = (1, 2) if draft.often() else (2, 1)
    heads, size = draft.size(), draft.size()
    by_keras = draft.often()
    outer, inner = ("tr", "sr") if along == 1 else ("rt", "rs")
    form = Form(
        f"b{outer}c",
        f"b{inner}c",
        f"b{outer}hd",
        f"b{inner}hd",
        f"b{inner}hd",
        draft.random.choice(orders("brhts")),
        f"b{outer}hd",
    )
    everything = np.ones((draft.samples, (first, second)[across - 1], (first, second)[along - 1]), bool)
    site = draft.site(
        draft.name("axial"),
        f"along axis {along} of {name}[{first}, {second}]" + (", by Keras" if by_keras else f", scores {form.scores}"),
        "sample window head query key",
        {dim: xr.DataArray(everything, dims=("sample", "window", dim)) for dim in ("query", "key")},
        window=axis_of(name, across),
        query=axis_of(name, along),
        key=axis_of(name, along),
    )
    if by_keras:
        draft.with_heads(f"{site}/query/kernel", f"{site}/key/kernel")
        draft.ends.append(layers.MultiHeadAttention(heads, size, attention_axes=along, name=site)(x, x))
    else:
        draft.with_heads(f"{site}/query", f"{site}/key")
        sizes = {"c": draft.width, "h": heads, "d": size}
        draft.ends.append(EinsumAttention(form, sizes, name=site)(x))


def windows(draft: Draft) -> None:
    count, length, folded = draft.size(), draft.size(), draft.often()
    x = draft.random.choice((words, series))(draft, count * length)
    valid = {
        dim: xr.DataArray(x.valid.reshape(draft.samples, count, length), dims=("sample", "window", dim))
        for dim in ("query", "key")
    }
    site = draft.site(
        draft.name("windows"),
        f"{count} windows of {length}, folded={folded}, of {x.text}",
        "sample window query key",
        valid,
        window=x.origin,
        query=x.origin,
        key=x.origin,
    )
    draft.ends.append(Windows(length, folded=folded, name=site)(x.tensor))


def document(draft: Draft) -> None:
    """Sentences, each read by the same attention."""
    sentences, length, heads, size = draft.size(), draft.size(), draft.size(), draft.size()
    name, pools, masked = draft.name("document"), draft.often(), draft.often()
    valid = (
        draft.padding(draft.samples * sentences, length)
        if masked
        else np.ones((draft.samples * sentences, length), bool)
    )
    valid = valid.reshape(draft.samples, sentences, length)
    numbers = np.where(valid, draft.numbers.integers(1, 9, valid.shape), 0).astype("int32")
    sentence = keras.Input((length,), dtype="int32")
    x = layers.Embedding(9, draft.width, mask_zero=masked)(sentence)
    kind, reader = ("pool", draft.name("reader")) if pools else ("mha", draft.name("reader"))
    validity = {dim: xr.DataArray(valid, dims=("sample", "step", dim)) for dim in ("key", "query")}
    origin, step = axis_of(name, 2), frozenset((axis_of(name, 1).words,))
    rule = f"{kind} in each of {sentences} sentences of {name}[{sentences}, {length}{' masked' if masked else ''}]"
    inner = draft.name(kind)
    if pools:
        vector = Pool("product", name=inner)(x)
        known = KnownSite(
            "",
            rule,
            ("sample", "step", "key"),
            {"step": step, "key": frozenset((origin.words,))},
            validity["key"],
            None,
        )
    else:
        vector = ops.mean(layers.MultiHeadAttention(heads, size, name=inner)(x, x), axis=1)
        known = KnownSite(
            "",
            rule,
            ("sample", "step", "head", "query", "key"),
            {"step": step, **dict.fromkeys(("query", "key"), frozenset((origin.words,)))},
            validity["key"],
            validity["query"],
        )
    draft.sites.append(replace(known, name=f"{reader}/{inner}", rule=f"{reader}/{inner}: {rule}"))
    vectors = layers.TimeDistributed(keras.Model(sentence, vector), name=reader)(draft.input(name, numbers))
    draft.streams.append(Stream(vectors, axis_of(name, 1), draft.everything(sentences), f"vectors of {name}"))


ATTENTION: tuple[Callable[[Draft, Stream, Stream], Stream | None], ...] = (
    multi_head,
    multi_head,
    grouped_query,
    of_keras_without_heads,
    dot_products,
    einsum,
    einsum,
    folded_heads,
    learned_queries,
    latents,
    hops,
    pooling,
    pooling,
    pooling_with_heads,
    pooling_each_sample,
    step_by_step,
)

OF_THEIR_OWN = (axial, windows, document)
