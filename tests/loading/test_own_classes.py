"""`load_model`: classes of the user's own, also where they are called like Keras', and all that is missing."""

import base64
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import ModelFileError, UnsafeFileError, UnsupportedError
from keras2_configurations import archive, dense, graph, input_layer, layer, random_arrays
from loading_files import MARKS, assert_gives, functional, numbers, operation, saved, whole, with_weights

pytestmark = MARKS
STEPS, WIDTH = 7, 5


# Classes with the names of Keras' -------------------------------------------------------------------------------------


class LayerNormalization(layers.Layer):
    """Takes no mean off."""

    def compute_output_shape(self, shape):
        return shape

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(x * x, -1, keepdims=True) + 1e-6) * self.gamma + self.beta


class Attention(layers.Layer):
    """The weighted sum of the states, in the form that people write themselves."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.W = self.add_weight(shape=(shape[-1], self.units), name="W")
        self.u = self.add_weight(shape=(self.units, 1), name="u")

    def call(self, x):
        scores = ops.softmax(ops.matmul(ops.tanh(ops.matmul(x, self.W)), self.u), axis=1)
        return ops.sum(scores * x, axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class LSTM(layers.LSTM):
    """Twice what Keras' gives."""

    def call(self, *args, **kwargs):
        return 2.0 * super().call(*args, **kwargs)


class Ones(keras.initializers.Initializer):
    """Twos."""

    def __call__(self, shape, dtype=None, **kwargs):
        return ops.full(shape, 2.0, dtype=dtype)


def gelu(x):
    return x * 3.0


OWN = {"LayerNormalization": LayerNormalization, "Attention": Attention, "LSTM": LSTM, "Ones": Ones, "gelu": gelu}


def in_a_graph():
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, Attention(3)(LayerNormalization()(x)))


def in_a_sequence():
    return keras.Sequential([keras.Input((STEPS, WIDTH)), LayerNormalization(), Attention(3)])


def in_inner_models():
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, layers.Dense(2)(in_a_sequence()(in_a_graph_of_steps()(x))))


def in_a_graph_of_steps():
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, LayerNormalization()(x))


def in_wrappers():
    x = keras.Input((STEPS, WIDTH))
    y = layers.TimeDistributed(LayerNormalization())(x)
    with keras.saving.custom_object_scope(OWN):  # A Bidirectional stores its layer and makes it again.
        return keras.Model(x, layers.Bidirectional(LSTM(3))(y))


def among_settings():
    with keras.saving.custom_object_scope(OWN):
        both = layers.Bidirectional(layers.GRU(2, kernel_initializer=Ones()))
    dense = layers.Dense(3, activation=gelu, kernel_initializer=Ones())
    return keras.Sequential([keras.Input((STEPS, WIDTH)), dense, both, layers.Activation(gelu)])


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(in_a_graph, marks=pytest.mark.every_backend),
        *(in_a_sequence, in_inner_models, in_wrappers, among_settings),
    ],
)
def test_a_class_that_is_given_is_the_one_that_is_used(make, suffix, rng, tmp_path):
    model = make()
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    samples = rng.normal(size=(2, STEPS, WIDTH)).astype("float32") + 3
    loaded = ats.load_model(saved(model, tmp_path / f"own.{suffix}"), custom_objects=OWN)
    assert_gives(loaded, samples, [numbers(model(samples))], 1e-6)


def test_an_initializer_that_is_given_is_the_one_that_is_used(tmp_path):
    for suffix in ("h5", "keras"):
        loaded = ats.load_model(saved(among_settings(), tmp_path / f"own.{suffix}"), custom_objects=OWN)
        assert type(loaded.layers[0].kernel_initializer) is Ones
        assert type(loaded.layers[1].forward_layer.cell.kernel_initializer) is Ones


def test_classes_in_a_scope_of_keras_count_as_given(rng, tmp_path):
    model = in_a_graph()
    samples = rng.normal(size=(2, STEPS, WIDTH)).astype("float32") + 3
    path = saved(model, tmp_path / "own.h5")
    with keras.saving.custom_object_scope(OWN):
        loaded = ats.load_model(path)
    assert_gives(loaded, samples, [numbers(model(samples))], 1e-6)


@pytest.mark.parametrize("version", ["2.0.6", "2.2.4", "2.6.0"])
def test_a_class_of_an_old_file_by_the_name_of_one_of_keras(version, rng, tmp_path):
    own = {"class_name": "Attention", "config": {"name": "attention_1", "trainable": True, "units": 3}}
    norm = {"class_name": "LayerNormalization", "config": {"name": "norm", "trainable": True}}
    inner = {"class_name": "Dense", "config": dense(version, "dense_1", 4)["config"] | {"activation": "gelu"}}
    config = graph(
        version,
        (input_layer(version, "a", STEPS, WIDTH), []),
        (norm, ["a"]),
        (layer(version, "TimeDistributed", "each", layer=inner), ["norm"]),
        (own, ["each"]),
        outputs=["attention_1"],
    )
    gamma, beta, kernel, bias, W, u = random_arrays(rng, (WIDTH,), (WIDTH,), (WIDTH, 4), (4,), (4, 3), (3, 1))
    weights = {
        "norm": [("gamma:0", gamma), ("beta:0", beta)],
        "each": [("kernel:0", kernel), ("bias:0", bias)],
        "attention_1": [("W:0", W), ("u:0", u)],
    }
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, version, weights), custom_objects=OWN)
    x = rng.normal(size=(2, STEPS, WIDTH)).astype("float32") + 3
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gamma + beta
    y = (y @ kernel + bias) * 3
    scores = np.exp(np.tanh(y @ W) @ u)
    assert_gives(model, x, [(scores / scores.sum(1, keepdims=True) * y).sum(1)], 1e-4)


def test_a_class_that_an_archive_of_keras_2_has_from_elsewhere(rng, tmp_path):
    own = {"module": "__main__", "class_name": "LayerNormalization", "config": {"name": "norm", "trainable": True}}
    own = {**own, "registered_name": "LayerNormalization"}
    config = graph("2.15.0", (input_layer("2.15.0", "a", WIDTH), []), (own, ["a"]), outputs=["norm"])
    config = {"module": "keras.src.engine.functional", **config, "registered_name": "Functional"}
    gamma, beta = random_arrays(rng, (WIDTH,), (WIDTH,))
    groups = {("layers", "layer_normalization"): [gamma, beta]}
    path = archive(tmp_path / "old.keras", "2.15.0", config, groups)
    x = rng.normal(size=(2, WIDTH)).astype("float32") + 3
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gamma + beta
    assert_gives(ats.load_model(path, custom_objects=OWN), x, [expected], 1e-5)
    with pytest.raises(
        UnsafeFileError, match=r"^'norm' needs the class '__main__\.LayerNormalization', which is neither"
    ):
        ats.load_model(path)


def test_two_classes_of_one_name_in_an_archive_stay_two(rng, tmp_path):
    model = keras.Sequential([keras.Input((WIDTH,)), layers.LayerNormalization(), LayerNormalization()])
    samples = rng.normal(size=(2, WIDTH)).astype("float32") + 3
    loaded = ats.load_model(saved(model, tmp_path / "both.keras"), custom_objects=OWN)
    assert [type(part) for part in loaded.layers] == [layers.LayerNormalization, LayerNormalization]
    assert_gives(loaded, samples, [numbers(model(samples))], 1e-6)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_class_of_keras_inside_a_wrapper_is_told_from_one_of_its_name(suffix, rng, tmp_path):
    """Of a wrapped layer an `.h5` file stores the module too."""
    wrapped = layers.TimeDistributed(layers.LayerNormalization())
    model = keras.Sequential([keras.Input((STEPS, WIDTH)), LayerNormalization(), wrapped])
    samples = rng.normal(size=(2, STEPS, WIDTH)).astype("float32") + 3
    loaded = ats.load_model(saved(model, tmp_path / f"both.{suffix}"), custom_objects=OWN)
    assert [type(loaded.layers[0]), type(loaded.layers[1].layer)] == [LayerNormalization, layers.LayerNormalization]
    assert_gives(loaded, samples, [numbers(model(samples))], 1e-6)


@pytest.mark.parametrize("package", [None, "somewhere"])
def test_two_classes_of_one_name_in_an_archive_of_keras_2_stay_two(package, rng, tmp_path):
    registered = f"{package}>LayerNormalization" if package else "LayerNormalization"
    config = {"name": "own", "trainable": True}
    own = {"module": None, "class_name": "LayerNormalization", "config": config, "registered_name": registered}
    keras_own = layer("2.15.0", "LayerNormalization", "norm", axis=[1], epsilon=1e-3, center=True, scale=True)
    first_layer = input_layer("2.15.0", "a", WIDTH)
    config = graph("2.15.0", (first_layer, []), (keras_own, ["a"]), (own, ["norm"]), outputs=["own"])
    config = {"module": "keras.src.engine.functional", **config, "registered_name": "Functional"}
    gamma, beta, gamma_2, beta_2 = random_arrays(rng, (WIDTH,), (WIDTH,), (WIDTH,), (WIDTH,))
    groups = {
        ("layers", "layer_normalization"): [gamma, beta],
        ("layers", "layer_normalization_1"): [gamma_2, beta_2],
    }
    x = rng.normal(size=(2, WIDTH)).astype("float32") + 3
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta
    expected = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-6) * gamma_2 + beta_2
    model = ats.load_model(archive(tmp_path / "old.keras", "2.15.0", config, groups), custom_objects=OWN)
    assert [type(part) for part in model.layers[1:]] == [layers.LayerNormalization, LayerNormalization]
    assert_gives(model, x, [expected], 1e-4)


def with_the_names_of_keras_alone():
    x = keras.Input((STEPS, WIDTH))
    y = layers.TimeDistributed(layers.LayerNormalization())(layers.LayerNormalization()(x))
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True, kernel_initializer="ones"))(y)
    return keras.Model(x, keras.Sequential([layers.Dense(3, activation="gelu"), layers.LayerNormalization()])(y))


def made_of_own_classes():
    x = keras.Input((STEPS, WIDTH))
    y = layers.TimeDistributed(LayerNormalization())(LayerNormalization()(x))
    with keras.saving.custom_object_scope(OWN):
        y = layers.Bidirectional(LSTM(3, return_sequences=True))(y)
    return keras.Model(x, keras.Sequential([layers.Dense(3, activation=gelu), LayerNormalization()])(y))


def test_a_class_is_used_where_an_archive_has_only_keras_class_of_its_name(rng, tmp_path):
    class LayerNormalization(globals()["LayerNormalization"]):
        """As Keras stores its own."""

        def __init__(self, axis=-1, epsilon=1e-3, center=True, scale=True, rms_scaling=None, **kwargs):
            for unused in INITIALIZED:
                kwargs.pop(unused, None)
            super().__init__(**kwargs)

    stored = with_the_names_of_keras_alone()
    stored.set_weights([rng.normal(size=weight.shape) for weight in stored.get_weights()])
    expected = made_of_own_classes()
    expected.set_weights(stored.get_weights())
    samples = rng.normal(size=(2, STEPS, WIDTH)).astype("float32") + 3
    own = {**OWN, "LayerNormalization": LayerNormalization}
    loaded = ats.load_model(saved(stored, tmp_path / "keras.keras"), custom_objects=own)
    assert type(loaded.layers[1]) is LayerNormalization
    assert type(loaded.layers[3].forward_layer.cell.kernel_initializer) is Ones
    assert_gives(loaded, samples, [numbers(expected(samples))], 1e-5)


INITIALIZED = [
    f"{weight}_{part}" for weight in ("beta", "gamma") for part in ("initializer", "regularizer", "constraint")
]


def test_a_class_that_is_registered_is_not_used_for_what_a_file_says_is_keras(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((WIDTH,)), layers.LayerNormalization()])
    monkeypatch.setitem(keras.saving.get_custom_objects(), "LayerNormalization", LayerNormalization)
    loaded = ats.load_model(saved(model, tmp_path / "keras.keras"))
    assert type(loaded.layers[0]) is layers.LayerNormalization


def test_a_class_that_does_not_fit_what_is_said_to_be_keras_is_told(tmp_path):
    x = keras.Input((STEPS, WIDTH))
    path = saved(keras.Model(x, layers.Attention(name="attention")([x, x])), tmp_path / "keras.keras")
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, custom_objects=OWN)
    said = str(caught.value)
    assert said.startswith(
        f"Keras {keras.version()} cannot build a model from keras.keras, which Keras {keras.version()} saved. "
    )
    assert said.endswith(
        " It fails at 'attention', which the file says is of Keras' own class 'Attention': leave 'Attention' out of "
        "custom_objects to use that."
    )


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_class_that_is_given_comes_before_one_that_is_registered(suffix, tmp_path, monkeypatch):
    class Scaled(layers.Layer):
        def call(self, x):
            return x * 2

    class Registered(Scaled):
        pass

    path = saved(keras.Sequential([keras.Input((WIDTH,)), Scaled()]), tmp_path / f"own.{suffix}")
    monkeypatch.setitem(keras.saving.get_custom_objects(), "Scaled", Registered)
    assert type(ats.load_model(path).layers[0]) is Registered
    assert type(ats.load_model(path, custom_objects={"Scaled": Scaled}).layers[0]) is Scaled


def test_a_class_of_keras_may_be_given_too(rng, tmp_path):
    """Its settings are those of Keras 2 all the same; an instance may be given, as recipes do."""
    relu = layer("2.2.4", "LeakyReLU", "relu", alpha=0.25)
    stored = dense("2.2.4", "dense", 2)
    stored["config"]["kernel_initializer"] = {
        "class_name": "GlorotUniform",
        "config": {"seed": None, "dtype": "float32"},
    }
    config = graph(
        "2.2.4", (input_layer("2.2.4", "a", WIDTH), []), (relu, ["a"]), (stored, ["relu"]), outputs=["dense"]
    )
    kernel, bias = random_arrays(rng, (WIDTH, 2), (2,))
    weights = {"dense": [("kernel:0", kernel), ("bias:0", bias)]}
    path = with_weights(tmp_path / "old.h5", config, "2.2.4", weights)
    given = {
        "LeakyReLU": layers.LeakyReLU,
        "GlorotUniform": keras.initializers.GlorotUniform(),
        "Model": keras.Model,
        "Functional": keras.Model,
    }
    x = rng.normal(size=(2, WIDTH)).astype("float32")
    expected = np.where(x > 0, x, 0.25 * x) @ kernel + bias
    assert_gives(ats.load_model(path, custom_objects=given), x, [expected], 1e-5)
    with keras.saving.custom_object_scope(given):
        assert_gives(ats.load_model(path), x, [expected], 1e-5)


def test_a_class_by_another_name_of_its_own_gets_the_weights_that_were_stored(rng, tmp_path):
    class Mine(LayerNormalization):
        pass

    model = keras.Sequential(
        [keras.Input((WIDTH,)), LayerNormalization(), layers.LayerNormalization(), layers.Dense(2)]
    )
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    samples = rng.normal(size=(2, WIDTH)).astype("float32") + 3
    path = saved(model, tmp_path / "own.keras")
    loaded = ats.load_model(path, custom_objects={"LayerNormalization": Mine})
    assert [type(part) for part in loaded.layers[:2]] == [Mine, layers.LayerNormalization]
    replaced = ats.load_model(path, replacements={model.layers[0].name: Mine()}, custom_objects=OWN)
    assert type(replaced.layers[0]) is Mine
    for one in (loaded, replaced):
        assert_gives(one, samples, [numbers(model(samples))], 1e-6)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_class_may_be_given_by_its_name_with_or_without_its_package(suffix, tmp_path):
    @keras.saving.register_keras_serializable("somewhere")
    class Scaled(layers.Layer):
        def call(self, x):
            return x * 2

    path = saved(keras.Sequential([keras.Input((WIDTH,)), Scaled()]), tmp_path / f"own.{suffix}")
    del keras.saving.get_custom_objects()["somewhere>Scaled"]
    for name in ("Scaled", "somewhere>Scaled"):
        assert type(ats.load_model(path, custom_objects={name: Scaled}).layers[0]) is Scaled


# Where the class is not given -----------------------------------------------------------------------------------------

OTHERWISE = "If not: Build the model in Python as it was, and load only the weights into it: load_model(path, model)."


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (in_a_graph_of_steps,
         "without axis, beta_initializer, center, epsilon, gamma_initializer, scale, which Keras always stores of its "
         "own LayerNormalization"),
        (lambda: keras.Sequential([keras.Input((STEPS, WIDTH)), Attention(3)]),
         "with units, which Keras' own Attention does not take"),
    ],
)  # fmt: skip
def test_settings_that_are_not_those_of_keras_class_of_that_name_are_told(make, why, tmp_path):
    model = make()
    own = model.layers[-1]
    name = type(own).__name__
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(saved(model, tmp_path / "own.h5"))
    assert str(caught.value) == (
        f"{own.name!r} is stored as a layer of class {name!r} {why}. If it is of another class of that name, pass that "
        f"class: load_model(path, custom_objects={{{name!r}: {name}}}). {OTHERWISE}"
    )


@pytest.mark.parametrize("version", ["2.6.0", "2.15.0"])
def test_keras_class_beside_one_of_its_name_in_a_file_without_modules_is_told(version, rng, tmp_path):
    norm = layer("2.6.0", "LayerNormalization", "norm", axis=[1], epsilon=1e-3, center=True, scale=True)
    norm["config"] |= {"beta_initializer": "zeros", "gamma_initializer": "ones"}
    own = {"class_name": "LayerNormalization", "config": {"name": "own", "trainable": True}}
    config = graph("2.6.0", (input_layer("2.6.0", "a", WIDTH), []), (norm, ["a"]), (own, ["norm"]), outputs=["own"])
    gamma, beta, gamma_2, beta_2 = random_arrays(rng, (WIDTH,), (WIDTH,), (WIDTH,), (WIDTH,))
    weights = {"norm": [("gamma:0", gamma), ("beta:0", beta)], "own": [("gamma:0", gamma_2), ("beta:0", beta_2)]}
    path = with_weights(tmp_path / "old.h5", config, version, weights)
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, custom_objects=OWN)
    assert str(caught.value).endswith(
        " It fails at 'norm', of whose class the file stores only the name, with what Keras stores of its own "
        "'LayerNormalization': if it is that, leave 'LayerNormalization' out of custom_objects, or, if other layers "
        "are of yours, put Keras' in its place: replacements={'norm': keras.layers.LayerNormalization(...)}."
    )
    model = ats.load_model(path, custom_objects=OWN, replacements={"norm": layers.LayerNormalization(axis=1)})
    x = rng.normal(size=(2, WIDTH)).astype("float32") + 3
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta
    assert_gives(model, x, [y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-6) * gamma_2 + beta_2], 1e-4)


def test_a_class_that_was_registered_in_a_package_is_named_as_in_python(tmp_path):
    own = {"class_name": "somewhere>Scaled", "config": {"name": "own"}}
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(whole(tmp_path / "old.h5", functional(own)))
    assert str(caught.value) == (
        "'own' needs the class 'somewhere>Scaled', which is neither Keras' own nor one that you passed. Expected one "
        "that is known here. Pass it: load_model(path, custom_objects={'somewhere>Scaled': Scaled}); or register it "
        "before loading, with keras.saving.register_keras_serializable."
    )


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("version", [None, "2.15.0"])
def test_a_class_from_a_notebook_is_not_taken_for_keras_class_of_that_name(version, trust, tmp_path):
    """Keras stores of it that it has no module."""
    own = {"module": None, "class_name": "Attention", "config": {"name": "own"}, "registered_name": "Attention"}
    config = graph("2.15.0", (input_layer("2.15.0", "a", STEPS, WIDTH), []), (own, ["a"]), outputs=["own"])
    config = {"module": "keras.src.models.functional", **config, "registered_name": "Functional"}
    path = archive(tmp_path / "own.keras", version or keras.version(), config, {})
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(path, trust=trust)
    assert str(caught.value) == (
        "'own' needs the class 'Attention', which is neither Keras' own nor one that you passed. Expected one that is "
        "known here. Pass it: load_model(path, custom_objects={'Attention': Attention}); or register it before "
        "loading, with keras.saving.register_keras_serializable."
    )


def twice(x):
    return x * 2


@pytest.mark.parametrize("suffix", ["h5", "keras", "old h5"])
def test_a_function_that_is_not_given_is_told(suffix, tmp_path):
    if suffix == "old h5":
        stored = {"class_name": "Dense", "config": dense("2.6.0", "last", 2)["config"] | {"activation": "twice"}}
        config = graph("2.6.0", (input_layer("2.6.0", "a", WIDTH), []), (stored, ["a"]), outputs=["last"])
        path = with_weights(tmp_path / "old.h5", config, "2.6.0", {})
    else:
        last = layers.Dense(2, activation=twice, name="last")
        path = saved(keras.Sequential([keras.Input((WIDTH,)), last]), tmp_path / f"own.{suffix}")
    for trust in (False, True):
        with pytest.raises(UnsafeFileError) as caught:
            ats.load_model(path, trust=trust)
        assert str(caught.value) == (
            "'last' needs the function 'twice', which is neither Keras' own nor one that you passed. Expected one that "
            "is known here. Pass it: load_model(path, custom_objects={'twice': twice}); or register it before loading, "
            "with keras.saving.register_keras_serializable."
        )


def test_a_layer_that_keras_class_of_that_name_cannot_be_called_as_is_told(tmp_path):
    own = layer("2.6.0", "Attention", "attention_1", use_scale=False, causal=False, dropout=0.0)
    config = graph("2.6.0", (input_layer("2.6.0", "a", STEPS, WIDTH), []), (own, ["a"]), outputs=["attention_1"])
    path = with_weights(tmp_path / "old.h5", config, "2.6.0", {})
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path)
    said = str(caught.value)
    assert said.startswith(f"Keras {keras.version()} cannot build a model from old.h5, which Keras 2.6.0 saved. ")
    assert said.endswith(
        " It fails at 'attention_1', of whose class the file stores only the name, 'Attention': if that is not Keras' "
        f"own class, pass yours: attnscope.load_model({str(path)!r}, custom_objects={{'Attention': Attention}}). Build "
        f"the model in Python as it was, and load only the weights into it: attnscope.load_model({str(path)!r}, model)."
    )


# All that is missing --------------------------------------------------------------------------------------------------


def own_layer(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


def lambda_layer(name, code=b"no code"):
    function = [base64.encodebytes(code).decode("ascii"), None, None]
    return own_layer("Lambda", name, function=function, function_type="lambda", output_shape_type="raw")


def test_all_that_is_missing_is_listed_at_once(tmp_path):
    wrapped = own_layer("TimeDistributed", "each", layer=own_layer("Scaled", "inner"))
    config = functional(
        own_layer("Scaled", "one"),
        lambda_layer("twice"),
        operation("signal.fft", ["twice", 0, 0, {}]),
        own_layer("Sequential", "block", layers=[own_layer("Scaled", "two"), own_layer("Attention", "own", units=3)]),
        wrapped,
        own_layer("Merge", "merged", mode="sum"),
        own_layer("Dense", "last", units=2, activation="relu"),
    )
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(whole(tmp_path / "old.h5", config))
    assert str(caught.value) == (
        "old.h5 needs 5 things that are neither in it nor known here:\n"
        "  'one' (and 2 more) needs the class 'Scaled', which is neither Keras' own nor one that you passed\n"
        "  'twice' is a Lambda and would run 7 bytes of Python bytecode\n"
        "  'tf.signal.fft' runs tf.signal.fft, which cannot be translated to Keras 3\n"
        "  'own' is stored as a layer of class 'Attention' with units, which Keras' own Attention does not take\n"
        "  'merged' is a Merge, a layer of Keras 1 that Keras 3 does not have\n"
        "Give them all at once: load_model(path, custom_objects={'Scaled': Scaled, 'Attention': Attention}, "
        "replacements={'twice': layer, 'tf.signal.fft': function, 'merged': keras.layers.Add()}). If you trust whoever "
        "made the file, trust=True runs its Lambda layers instead."
    )


def test_all_that_is_missing_in_an_archive_is_listed_at_once(tmp_path):
    class Scaled(layers.Layer):
        def call(self, x):
            return x * 2

    x = keras.Input((WIDTH,))
    y = layers.Lambda(lambda x: x, name="same")(Scaled(name="two")(Scaled(name="one")(x)))
    path = saved(keras.Model(x, y), tmp_path / "own.keras")
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(path)
    first_line, one, lambda_, last = str(caught.value).split("\n")
    assert first_line == "own.keras needs 2 things that are neither in it nor known here:"
    assert one == (
        f"  'one' (and 1 more) needs the class '{__name__}.Scaled', which is neither Keras' own nor one that you passed"
    )
    assert lambda_.startswith("  'same' is a Lambda and would run ")
    assert last == (
        "Give them all at once: load_model(path, custom_objects={'Scaled': Scaled}, replacements={'same': layer}). If "
        "you trust whoever made the file, trust=True runs its Lambda layers instead."
    )
    loaded = ats.load_model(path, custom_objects={"Scaled": Scaled}, replacements={"same": layers.Identity()})
    assert_gives(loaded, np.ones((2, WIDTH), "float32"), [np.full((2, WIDTH), 4.0)])


def test_what_cannot_be_given_is_listed_too(tmp_path):
    inner = [own_layer("Sequential", "inner", layers=[])]
    config = functional(own_layer("Merge", "merged", mode="sum", layers=inner), own_layer("Highway", "way"))
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(whole(tmp_path / "old.h5", config))
    assert str(caught.value) == (
        "old.h5 needs 2 things that are neither in it nor known here:\n"
        "  'merged' is a Merge, a layer of Keras 1 that joins whole models, which Keras 3 does not have\n"
        "  'way' is a Highway, a layer of Keras 1 that Keras 3 does not have\n"
        "Build the model in Python as it was, and load only the weights into it: load_model(path, model)."
    )


def test_a_later_error_does_not_speak_of_what_was_replaced(tmp_path):
    path = whole(tmp_path / "old.h5", functional(lambda_layer("one"), lambda_layer("two")))
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, replacements={"one": layers.Identity()}, trust=True)
    assert str(caught.value).endswith(
        "The Python bytecode in its Lambda layers ('two') needs the version of Python and the names that it was "
        "written with. Replace each by a layer that does the same, such as replacements={'two': "
        "attnscope.loading.replacements.sum_over(axis=1)}."
    )
    broken = functional(lambda_layer("one"), own_layer("Conv1D", "conv", filters=2, kernel_size=[3]))
    path = whole(tmp_path / "old.h5", broken)
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, replacements={"one": layers.Identity()})
    assert "Lambda" not in str(caught.value)


# Damage ---------------------------------------------------------------------------------------------------------------


def test_damage_is_told_by_the_name_of_the_file(tmp_path):
    model = keras.Sequential([keras.Input((WIDTH,)), layers.Dense(2)])
    path = saved(model, tmp_path / "best model.h5")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ModelFileError, match=r"^The HDF5 file best model\.h5 cannot be read: .*truncated file"):
        ats.load_model(path)


@pytest.mark.parametrize("content", ['{"class_name": "Sequential"', "[]", "\xff"])
def test_a_damaged_configuration_is_told_and_is_not_called_unsafe(content, tmp_path):
    path = saved(keras.Sequential([keras.Input((WIDTH,)), layers.Dense(2)]), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = content.encode("latin-1")
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    with pytest.raises(ModelFileError, match=r"^'config\.json' of model\.keras (cannot be read: |is a list)"):
        ats.load_model(path)


def test_an_archive_of_something_else_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as file:
        file.writestr("model.h5", b"")
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(tmp_path / "model.zip")
    assert str(caught.value) == (
        "model.zip is a zip archive without 'config.json', so it is no Keras model. Expected a .keras file. If the "
        "archive contains a model file, unpack it, and load that file."
    )


def test_an_archive_of_a_whole_folder_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("best/config.json", b"{}")
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(tmp_path / "model.keras")
    assert str(caught.value) == (
        "model.keras is a zip archive with a model in the folder 'best'. Expected a .keras file, which has it at its "
        "root. Unpack the archive, and load that folder."
    )


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.keras", "model"])
def test_an_hdf5_file_is_one_whatever_its_name(name, tmp_path):
    model = keras.Sequential([keras.Input((WIDTH,)), layers.Dense(2)])
    path = saved(model, tmp_path / "model.h5").rename(tmp_path / name)
    x = np.ones((2, WIDTH), "float32")
    assert_gives(ats.load_model(path), x, [numbers(model(x))])


@pytest.mark.parametrize("ends", [(b"\n", b"\r\n"), (b"\r\n", b"\n")])
def test_an_hdf5_file_that_was_copied_as_text_is_told(ends, tmp_path):
    path = saved(keras.Sequential([keras.Input((WIDTH,)), layers.Dense(2)]), tmp_path / "model.h5")
    path.write_bytes(path.read_bytes().replace(*ends))
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path)
    assert str(caught.value) == (
        "model.h5 is an HDF5 file that was copied as text, which changed its bytes, but a .keras or .h5 file is "
        "needed. Copy it again as binary, from where it was saved."
    )


def test_a_pytorch_file_is_told_whatever_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.h5", "w") as file:
        file.writestr("model/data.pkl", b"")
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(tmp_path / "model.h5")
    assert str(caught.value) == (
        "model.h5 is a PyTorch file, but a .keras or .h5 file is needed. Build the same model in Keras, set its "
        "weights from these layer by layer, and pass it to attnscope.capture."
    )


def test_an_hdf5_file_of_data_is_told(tmp_path):
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["train_set_x"], file["train_set_y"] = np.zeros((3, 2)), np.zeros(3)
    for model in (None, keras.Sequential([keras.Input((WIDTH,)), layers.Dense(2)])):
        with pytest.raises(ModelFileError) as caught:
            ats.load_model(tmp_path / "train.h5", model)
        assert str(caught.value) == (
            "train.h5 is an HDF5 file without a Keras model or its weights; it contains 'train_set_x', 'train_set_y'. "
            "Expected what Keras saves: model.save('model.keras')."
        )
