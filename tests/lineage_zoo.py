"""Models whose axes are known by construction, at any sizes: what a dim is follows from letters, never from a number.

`Einsum` is attention in any form that einsum can write. A letter stands for one axis wherever it is written, so that
the scores, their dims and where these come from can be computed by NumPy and by reading the letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

PRIMES = {"b": 3, "t": 5, "s": 7, "h": 2, "d": 11, "c": 13, "n": 17, "g": 19, "i": 23, "r": 29, "w": 31, "u": 37}
EQUAL = dict.fromkeys(PRIMES, 4)
SIZES = {"primes": PRIMES, "equal": EQUAL}

Sizes = dict[str, int]


@dataclass(frozen=True)
class Form:
    """Attention written in einsum.

    Attributes:
        query: Equation from the first input and a weight to the queries; a term alone for a weight that asks by itself.
        key: From the second input and a weight to the keys; empty for that input as it is.
        value: Likewise to the values.
        scores: From queries and keys to the scores.
        context: From scores and values to the output.
        over: The letter that the softmax runs over.
        dims: The dims of the scores, each with the letters that lie along it.
    """

    query: str
    key: str
    value: str
    scores: str
    context: str
    over: str
    dims: dict[str, str]


class Einsum(keras.layers.Layer):
    """Attention of one form, with its weights."""

    def __init__(self, form: Form, sizes: Sizes, **options):
        super().__init__(**options)
        self.form, self.sizes = form, sizes

    def build(self, *_):
        self.kernels = {}
        for part in ("query", "key", "value"):
            equation = getattr(self.form, part)
            if equation:
                term = equation.split("->")[0].split(",")[-1]
                shape = tuple(self.sizes[letter] for letter in term)
                self.kernels[part] = self.add_weight(shape=shape, name=part, initializer="random_normal")
        self.built = True

    def part(self, name, x, einsum, kernel):
        equation = getattr(self.form, name)
        if not equation:
            return x
        return einsum(equation, x, kernel) if "," in equation else kernel

    def call(self, x, y=None):
        y = x if y is None else y
        parts = [
            self.part(n, z, ops.einsum, self.kernels.get(n))
            for n, z in zip(("query", "key", "value"), (x, y, y), strict=True)
        ]
        logits = ops.einsum(self.form.scores, parts[0], parts[1])
        scores = ops.softmax(logits, axis=self.form.scores.split("->")[1].index(self.form.over))
        return ops.einsum(self.form.context, scores, parts[2])

    def by_hand(self, x, y=None):
        """The scores by NumPy, in the order of the form's dims."""
        y = x if y is None else y
        kernels = {name: np.asarray(ops.convert_to_numpy(kernel), "float64") for name, kernel in self.kernels.items()}
        query, key = (
            self.part(name, z.astype("float64"), np.einsum, kernels.get(name)) for name, z in (("query", x), ("key", y))
        )
        logits = np.einsum(self.form.scores, query, key)
        letters = self.form.scores.split("->")[1]
        exponentials = np.exp(logits - logits.max(letters.index(self.form.over), keepdims=True))
        scores = exponentials / exponentials.sum(letters.index(self.form.over), keepdims=True)
        order = "".join(self.form.dims.values())
        sizes = dict(zip(letters, logits.shape, strict=True))
        shape = [int(np.prod([sizes[letter] for letter in part])) for part in self.form.dims.values()]
        return np.einsum(f"{letters}->{order}", scores).reshape(shape)


@dataclass(frozen=True)
class Case:
    """A model of the zoo.

    Attributes:
        name: What it is.
        build: From sizes to the model.
        inputs: From sizes and a generator of random numbers to what the model is given.
        site: Name of the site that is looked at.
        dims: Its dims.
        lineage: Where they come from.
        by_hand: From the model and its inputs to the scores; None where only the names are looked at.
        valid: From the inputs to which keys are valid; None where all are.
    """

    name: str
    build: Callable[[Sizes], keras.Model]
    inputs: Callable[[Sizes, np.random.Generator], list[np.ndarray]]
    site: str
    dims: tuple[str, ...]
    lineage: dict[str, str]
    by_hand: Callable[[keras.Model, list[np.ndarray]], np.ndarray] | None = None
    valid: Callable[[list[np.ndarray]], np.ndarray] | None = None


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


def of_form(name: str, form: Form, *shapes: str, lineage: dict[str, str]) -> Case:
    """A model of one `Einsum` over inputs ``x`` and ``y``, whose axes behind the samples have these letters."""

    def build(sizes: Sizes) -> keras.Model:
        inputs = [
            keras.Input([sizes[letter] for letter in shape], name=n) for n, shape in zip("xy", shapes, strict=False)
        ]
        outputs = Einsum(form, sizes, name="site")(*inputs)
        return keras.Model(inputs, outputs)

    def data(sizes: Sizes, rng: np.random.Generator) -> list[np.ndarray]:
        return [floats(rng, sizes["b"], *(sizes[letter] for letter in shape)) for shape in shapes]

    def by_hand(model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
        return model.get_layer("site").by_hand(*inputs)

    return Case(name, build, data, "site", tuple(form.dims), {"sample": "samples", **lineage}, by_hand)


X1, Y1 = "axis 1 of input 'x'", "axis 1 of input 'y'"
SELF = {"query": "btc,chd->bthd", "key": "bsc,chd->bshd", "value": "bsc,chd->bshd"}
HEADS = {"sample": "b", "head": "h", "query": "t", "key": "s"}


def self_attention(scores: str) -> Form:
    """Self-attention whose scores have their axes in this order."""
    return Form(**SELF, scores=f"bthd,bshd->{scores}", context=f"{scores},bshd->bthd", over="s", dims=HEADS)


def units(weight: str) -> str:
    return f"units of 'site/{weight}'"


FORMS = [
    *(
        of_form(
            f"self-attention with scores {scores}",
            self_attention(scores),
            "tc",
            lineage={"head": units("query"), "query": X1, "key": X1},
        )
        for scores in ("bhts", "bths", "btsh", "hbts", "tbhs", "bsht")
    ),
    of_form(
        "cross-attention",
        self_attention("bhts"),
        "tc",
        "sc",
        lineage={"head": units("query"), "query": X1, "key": Y1},
    ),
    of_form(
        "multi-query attention",
        Form("btc,chd->bthd", "bsc,cd->bsd", "bsc,cd->bsd", "bthd,bsd->bhts", "bhts,bsd->bthd", "s", HEADS),
        "tc",
        "sc",
        lineage={"head": units("query"), "query": X1, "key": Y1},
    ),
    of_form(
        "grouped-query attention",
        Form(
            "btc,cgid->btgid",
            "bsc,cgd->bsgd",
            "bsc,cgd->bsgd",
            "btgid,bsgd->bgits",
            "bgits,bsgd->btgid",
            "s",
            {"sample": "b", "head": "gi", "query": "t", "key": "s"},
        ),
        "tc",
        "sc",
        lineage={"head": units("query"), "query": X1, "key": Y1},
    ),
    of_form(
        "axial attention along columns",
        Form(
            "brtc,chd->brthd",
            "brsc,chd->brshd",
            "brsc,chd->brshd",
            "brthd,brshd->brhts",
            "brhts,brshd->brthd",
            "s",
            {"sample": "b", "window": "r", "head": "h", "query": "t", "key": "s"},
        ),
        "rtc",
        lineage={"window": X1, "head": units("query"), "query": "axis 2 of input 'x'", "key": "axis 2 of input 'x'"},
    ),
    of_form(
        "axial attention along rows",
        Form(
            "btrc,chd->btrhd",
            "bsrc,chd->bsrhd",
            "bsrc,chd->bsrhd",
            "btrhd,bsrhd->brhts",
            "brhts,bsrhd->btrhd",
            "s",
            {"sample": "b", "window": "r", "head": "h", "query": "t", "key": "s"},
        ),
        "trc",
        lineage={"window": "axis 2 of input 'x'", "head": units("query"), "query": X1, "key": X1},
    ),
    of_form(
        "learned queries",
        Form(
            "nd",
            "bsc,cd->bsd",
            "bsc,cd->bsd",
            "nd,bsd->bns",
            "bns,bsd->bnd",
            "s",
            {"sample": "b", "query": "n", "key": "s"},
        ),
        "sc",
        lineage={"query": units("query"), "key": X1},
    ),
    of_form(
        "learned queries with heads",
        Form(
            "nhd",
            "bsc,chd->bshd",
            "bsc,chd->bshd",
            "nhd,bshd->bhns",
            "bhns,bshd->bnhd",
            "s",
            {"sample": "b", "head": "h", "query": "n", "key": "s"},
        ),
        "sc",
        lineage={"head": units("query"), "query": units("query"), "key": X1},
    ),
    of_form(
        "pooling",
        Form("c", "", "", "c,bsc->bs", "bs,bsc->bc", "s", {"sample": "b", "key": "s"}),
        "sc",
        lineage={"key": X1},
    ),
    of_form(
        "pooling with heads",
        Form(
            "hd",
            "bsc,chd->bshd",
            "bsc,chd->bshd",
            "hd,bshd->bhs",
            "bhs,bshd->bhd",
            "s",
            {"sample": "b", "head": "h", "key": "s"},
        ),
        "sc",
        lineage={"head": units("query"), "key": X1},
    ),
    of_form(
        "several hops over one sequence",
        Form("cn", "", "", "cn,bsc->bsn", "bsn,bsc->bnc", "s", {"sample": "b", "query": "n", "key": "s"}),
        "sc",
        lineage={"query": units("query"), "key": X1},
    ),
]


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def numpy_of(weight) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(weight), "float64")


class FoldedHeads(keras.layers.Layer):
    """Heads folded into the first axis, as older code does."""

    def __init__(self, heads, size, **options):
        super().__init__(**options)
        self.heads, self.size = heads, size

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.heads * self.size), name="kernel")

    def folded(self, x):
        _, length, _ = x.shape
        x = ops.reshape(ops.matmul(x, self.kernel), (-1, length, self.heads, self.size))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length, self.size))

    def call(self, x):
        x = self.folded(x)
        return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)

    def compute_output_shape(self, shape):
        return (None, shape[1], self.size)


def folded(sizes: Sizes) -> keras.Model:
    x = keras.Input((sizes["t"], sizes["c"]), name="x")
    y = FoldedHeads(sizes["h"], sizes["d"], name="site")(x)
    return keras.Model(x, ops.sum(y))


def folded_by_hand(model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
    layer = model.get_layer("site")
    x = (inputs[0] @ numpy_of(layer.kernel)).reshape(*inputs[0].shape[:2], layer.heads, layer.size)
    return softmax(np.einsum("bthd,bshd->bhts", x, x))


class Windows(keras.layers.Layer):
    """Attention inside of windows of a sequence, folded into the first axis."""

    def __init__(self, length, **options):
        super().__init__(**options)
        self.length = length

    def call(self, x):
        windows = ops.reshape(x, (-1, self.length, x.shape[-1]))
        scores = ops.softmax(ops.matmul(windows, ops.transpose(windows, (0, 2, 1))))
        return ops.reshape(ops.matmul(scores, windows), (-1, *x.shape[1:]))


def windows(sizes: Sizes) -> keras.Model:
    x = keras.Input((sizes["w"] * sizes["t"], sizes["c"]), name="x")
    return keras.Model(x, Windows(sizes["t"], name="site")(x))


def windows_by_hand(model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
    length = model.get_layer("site").length
    x = inputs[0].astype("float64")
    x = x.reshape(len(x), -1, length, x.shape[-1])
    return softmax(np.einsum("bwtc,bwsc->bwts", x, x))


class PerSample(keras.layers.Layer):
    """A loop over the samples."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1), name="kernel")

    def call(self, x):
        return ops.map(lambda one: ops.sum(ops.softmax(ops.matmul(one, self.kernel), axis=0) * one, 0), x)


def per_sample(sizes: Sizes) -> keras.Model:
    x = keras.Input((sizes["s"], sizes["c"]), name="x")
    return keras.Model(x, PerSample(name="site")(x))


class TakenApart(keras.layers.Layer):
    """A bag of instances, weighted one by one."""

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], 1), name="kernel")

    def call(self, bag):
        weights = ops.softmax(ops.stack([ops.matmul(one, self.kernel) for one in bag]), axis=0)
        return sum(weights[number] * one for number, one in enumerate(bag))


def bag(sizes: Sizes) -> keras.Model:
    inputs = [keras.Input((sizes["c"],), name=f"x{number}") for number in range(sizes["s"])]
    return keras.Model(inputs, TakenApart(name="site")(inputs))


def bag_by_hand(model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
    kernel = numpy_of(model.get_layer("site").kernel)
    return softmax(np.stack([x.astype("float64") @ kernel for x in inputs])[..., 0], axis=0).T


def tokens(rng: np.random.Generator, samples: int, length: int) -> np.ndarray:
    """Numbers of tokens with padding at the end, of a length of its own in each sample."""
    numbers = rng.integers(1, 30, (samples, length))
    for sample, row in enumerate(numbers):
        row[1 + sample % (length - 1) :] = 0
    return numbers


def two_texts(sizes: Sizes) -> keras.Model:
    first, second = (
        keras.Input((sizes[n],), dtype="int32", name=name) for n, name in (("t", "first"), ("s", "second"))
    )
    embed = layers.Embedding(30, sizes["c"], mask_zero=True)
    a, b = embed(first), embed(second)
    weights = layers.Activation("softmax", name="site")(layers.Dot(axes=-1)([a, b]))
    return keras.Model([first, second], layers.Dot(axes=(2, 1))([weights, b]))


def caption(sizes: Sizes) -> keras.Model:
    """Words of a masked text that attend to as many patches of a picture, which have no mask."""
    side = sizes["t"] * 2
    picture, text = keras.Input((side, 4, 3), name="picture"), keras.Input((sizes["s"],), dtype="int32", name="text")
    patches = layers.Reshape((sizes["t"] * 2, sizes["c"]))(layers.Conv2D(sizes["c"], 2, 2)(picture))
    words = layers.Embedding(30, sizes["c"], mask_zero=True)(text)
    return keras.Model([picture, text], layers.MultiHeadAttention(sizes["h"], sizes["d"], name="site")(words, patches))


def series(sizes: Sizes) -> keras.Model:
    x = keras.Input((sizes["s"], sizes["c"]), name="x")
    states = layers.GRU(sizes["u"], return_sequences=True)(layers.Masking(-1.0)(x))
    weights = layers.Activation("softmax", name="site")(layers.Flatten()(layers.Dense(1)(states)))
    return keras.Model(x, layers.Dot(axes=1)([weights, states]))


def masked_series(sizes: Sizes, rng: np.random.Generator) -> list[np.ndarray]:
    x = floats(rng, sizes["b"], sizes["s"], sizes["c"])
    x[:, sizes["s"] - 2 :] = -1
    return [x]


def keras_mha(sizes: Sizes) -> keras.Model:
    x = keras.Input((sizes["t"],), dtype="int32", name="x")
    e = layers.Embedding(30, sizes["c"], mask_zero=True)(x)
    return keras.Model(x, layers.MultiHeadAttention(sizes["h"], sizes["d"], name="site")(e, e))


def of_keras(make: Callable[[Sizes], keras.layers.Layer]) -> Callable[[Sizes], keras.Model]:
    def build(sizes: Sizes) -> keras.Model:
        x, y = keras.Input((sizes["t"], sizes["c"]), name="x"), keras.Input((sizes["s"], sizes["c"]), name="y")
        return keras.Model([x, y], make(sizes)([x, y]))

    return build


def of_keras_by_call(make: Callable[[Sizes], keras.layers.Layer]) -> Callable[[Sizes], keras.Model]:
    def build(sizes: Sizes) -> keras.Model:
        x, y = keras.Input((sizes["t"], sizes["c"]), name="x"), keras.Input((sizes["s"], sizes["c"]), name="y")
        return keras.Model([x, y], make(sizes)(x, y))

    return build


def two(sizes: Sizes, rng: np.random.Generator) -> list[np.ndarray]:
    return [floats(rng, sizes["b"], sizes[letter], sizes["c"]) for letter in "ts"]


def vit(sizes: Sizes) -> keras.Model:
    """A class token in front of patches."""
    picture = keras.Input((sizes["t"] * 2, sizes["s"] * 2, 3), name="picture")
    patches = layers.Reshape((sizes["t"] * sizes["s"], sizes["c"]))(layers.Conv2D(sizes["c"], 2, 2)(picture))
    x = ClassToken(name="cls")(patches)
    return keras.Model(picture, layers.MultiHeadAttention(sizes["h"], sizes["d"], name="site")(x, x))


class ClassToken(keras.layers.Layer):
    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, x):
        return ops.concatenate([ops.repeat(self.token, ops.shape(x)[0], axis=0), x], axis=1)


def features(sizes: Sizes) -> keras.Model:
    """The columns of a table as tokens."""
    x = keras.Input((sizes["t"],), name="x")
    e = layers.Dense(sizes["c"])(layers.Reshape((sizes["t"], 1))(x))
    return keras.Model(x, layers.MultiHeadAttention(sizes["h"], sizes["d"], name="site")(e, e))


def document(sizes: Sizes) -> keras.Model:
    words = keras.Input((sizes["s"],), dtype="int32")
    x = layers.Embedding(30, sizes["c"], mask_zero=True)(words)
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(sizes["h"], sizes["d"], name="mha")(x, x))
    text = keras.Input((sizes["t"], sizes["s"]), dtype="int32", name="text")
    return keras.Model(text, layers.TimeDistributed(keras.Model(words, pooled), name="each")(text))


def documents(sizes: Sizes, rng: np.random.Generator) -> list[np.ndarray]:
    return [np.stack([tokens(rng, sizes["t"], sizes["s"]) for _ in range(sizes["b"])])]


CASES = [
    *FORMS,
    Case(
        "heads folded into the samples",
        folded,
        lambda n, rng: [floats(rng, n["b"], n["t"], n["c"])],
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "head": "units of 'site/kernel'", "query": X1, "key": X1},
        folded_by_hand,
    ),
    Case(
        "windows folded into the samples",
        windows,
        lambda n, rng: [floats(rng, n["b"], n["w"] * n["t"], n["c"])],
        "site",
        ("sample", "window", "query", "key"),
        {"sample": "samples", "window": X1, "query": X1, "key": X1},
        windows_by_hand,
    ),
    Case(
        "a loop over the samples",
        per_sample,
        lambda n, rng: [floats(rng, n["b"], n["s"], n["c"])],
        "site",
        ("sample", "key"),
        {"sample": "samples", "key": X1},
        lambda model, x: softmax(x[0].astype("float64") @ numpy_of(model.get_layer("site").kernel), axis=1)[..., 0],
    ),
    Case(
        "a stack that is taken apart",
        bag,
        lambda n, rng: [floats(rng, n["b"], n["c"]) for _ in range(n["s"])],
        "site",
        ("sample", "key"),
        {"sample": "samples"},
        bag_by_hand,
    ),
    Case(
        "two texts",
        two_texts,
        lambda n, rng: [tokens(rng, n["b"], n["t"]), tokens(rng, n["b"], n["s"])],
        "site",
        ("sample", "query", "key"),
        {"sample": "samples", "query": "axis 1 of input 'first'", "key": "axis 1 of input 'second'"},
        valid=lambda x: x[1] != 0,
    ),
    Case(
        "a caption",
        caption,
        lambda n, rng: [floats(rng, n["b"], n["t"] * 2, 4, 3), tokens(rng, n["b"], n["s"])],
        "site",
        ("sample", "head", "query", "key"),
        {
            "sample": "samples",
            "head": "units of 'site/query/kernel'",
            "query": "axis 1 of input 'text'",
            "key": "patches of input 'picture'",
        },
    ),
    Case(
        "a masked series",
        series,
        masked_series,
        "site",
        ("sample", "key"),
        {"sample": "samples", "key": X1},
        valid=lambda x: ~(x[0] == -1).all(-1),
    ),
    Case(
        "self-attention of Keras with a mask",
        keras_mha,
        lambda n, rng: [tokens(rng, n["b"], n["t"])],
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "head": "units of 'site/query/kernel'", "query": X1, "key": X1},
        valid=lambda x: x[0] != 0,
    ),
    Case(
        "Keras' Attention",
        of_keras(lambda n: layers.Attention(name="site")),
        two,
        "site",
        ("sample", "query", "key"),
        {"sample": "samples", "query": X1, "key": Y1},
    ),
    Case(
        "Keras' AdditiveAttention",
        of_keras(lambda n: layers.AdditiveAttention(name="site")),
        two,
        "site",
        ("sample", "query", "key"),
        {"sample": "samples", "query": X1, "key": Y1},
    ),
    Case(
        "Keras' MultiHeadAttention",
        of_keras_by_call(lambda n: layers.MultiHeadAttention(n["h"], n["d"], name="site")),
        two,
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "head": "units of 'site/query/kernel'", "query": X1, "key": Y1},
    ),
    Case(
        "Keras' GroupQueryAttention",
        of_keras_by_call(lambda n: layers.GroupQueryAttention(n["d"], 2 * n["h"], n["h"], name="site")),
        two,
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "query": X1, "key": Y1},
    ),
    Case(
        "a class token before patches",
        vit,
        lambda n, rng: [floats(rng, n["b"], n["t"] * 2, n["s"] * 2, 3)],
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "head": "units of 'site/query/kernel'"},
    ),
    Case(
        "a table whose columns are tokens",
        features,
        lambda n, rng: [floats(rng, n["b"], n["t"])],
        "site",
        ("sample", "head", "query", "key"),
        {"sample": "samples", "head": "units of 'site/query/kernel'", "query": X1, "key": X1},
    ),
    Case(
        "sentences of a document",
        document,
        documents,
        "each/mha",
        ("sample", "step", "head", "query", "key"),
        {"sample": "samples", "query": "axis 2 of input 'text'", "key": "axis 2 of input 'text'"},
        valid=lambda x: x[0] != 0,
    ),
]
