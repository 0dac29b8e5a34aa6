"""The documentation page of `InterpretableMultiHeadAttention`, every example of it, with the import changed.

Where an example cannot run as printed it is adapted, and only there: Example 1 uses `model` before it exists and a
categorical loss with integer targets, so the model is made first and the loss is the sparse one; Example 2 reads the
scores when there are none yet, so they are read after a forward pass; `tf.random` is `keras.random`, for all backends.
The page's examples turn the features into a sequence of length 1, where every score is 1 by construction; below them
stands the same use with the features as tokens.
"""

import keras
import matplotlib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import attnscope as ats
from attnscope.layers import InterpretableMultiHeadAttention

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Keras warns of what these examples do; the lint says what to do instead.
one_key = pytest.mark.filterwarnings("ignore:(.|\\n)*You are using a softmax over axis:UserWarning")


def test_basic_usage():
    batch_size, seq_len, d_model = 32, 10, 64
    query = keras.random.normal((batch_size, seq_len, d_model))
    key = keras.random.normal((batch_size, seq_len, d_model))
    value = keras.random.normal((batch_size, seq_len, d_model))
    attention = InterpretableMultiHeadAttention(d_model=d_model, n_head=8, dropout_rate=0.1)
    assert attention.attention_scores is None
    output = attention(query, key, value)
    assert tuple(output.shape) == (32, 10, 64)
    attention_scores = attention.attention_scores
    assert isinstance(attention_scores, np.ndarray)
    assert attention_scores.shape == (32, 8, 10, 10)
    np.testing.assert_allclose(attention_scores.sum(axis=-1), 1, atol=1e-5)


@one_key
def test_in_a_sequential_model():
    model = keras.Sequential(
        [
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Reshape((1, 64)),  # Reshape for attention
            InterpretableMultiHeadAttention(d_model=64, n_head=4),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(np.ones((9, 20), "float32"), np.ones((9, 1)), verbose=0)
    assert model.layers[2].attention_scores.shape == (9, 4, 1, 1)


def functional_model(features, width, heads, outputs, activation):
    inputs = keras.Input(shape=(features,))
    x = keras.layers.Dense(width, activation="relu")(inputs)
    x = keras.layers.Reshape((1, width))(x)  # Reshape for attention
    x = InterpretableMultiHeadAttention(d_model=width, n_head=heads)(x, x, x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(x))


@one_key
def test_in_a_functional_model():
    model = functional_model(20, 64, 8, 1, "sigmoid")
    assert model.predict(np.ones((3, 20), "float32"), verbose=0).shape == (3, 1)


@one_key
def test_advanced_configuration():
    attention = InterpretableMultiHeadAttention(
        d_model=128,
        n_head=16,
        dropout_rate=0.2,
        kernel_initializer="he_normal",
        use_bias=False,
        name="advanced_interpretable_attention",
    )
    inputs = keras.Input(shape=(50,))
    x = keras.layers.Dense(128, activation="relu")(inputs)
    x = keras.layers.Reshape((1, 128))(x)
    x = attention(x, x, x)  # Self-attention
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu")(x)
    outputs = keras.layers.Dense(5, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    assert model.predict(np.ones((3, 50), "float32"), verbose=0).shape == (3, 5)
    assert model.get_layer("advanced_interpretable_attention") is attention
    again = InterpretableMultiHeadAttention.from_config(attention.get_config())
    assert again.get_config() == attention.get_config()
    assert len(attention.weights) == 4  # use_bias=False


def test_the_example_of_the_reference():
    d_model, n_head, seq_len, batch_size = 64, 4, 10, 32
    layer = InterpretableMultiHeadAttention(
        d_model=d_model, n_head=n_head, kernel_initializer="he_normal", use_bias=False
    )
    query = keras.random.normal((batch_size, seq_len, d_model))
    assert tuple(layer(query, query, query).shape) == (32, 10, 64)
    assert layer.attention_scores.shape == (32, 4, 10, 10)


@one_key
def test_example_1_medical_diagnosis_and_what_the_lint_says_of_it():
    batch_size, num_features = 32, 20
    medical_data = keras.ops.convert_to_numpy(keras.random.normal((batch_size, num_features)))
    model = functional_model(num_features, 64, 8, 5, "softmax")  # 5 possible diagnoses
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    targets = np.random.default_rng(0).integers(0, 5, (batch_size, 1))
    model.fit(medical_data, targets, epochs=10, verbose=0)
    attention_layer = model.layers[3]  # InterpretableMultiHeadAttention layer
    attention_scores = attention_layer.attention_scores
    assert attention_scores.shape == (32, 8, 1, 1)
    np.testing.assert_allclose(np.mean(attention_scores, axis=(0, 2, 3)), 1, atol=1e-6)  # exactly 1 but for rounding
    maps = ats.capture(model, medical_data)
    assert [(finding.kind, finding.site) for finding in maps.findings] == [("single_key", attention_layer.name)]


@one_key
def test_example_2_financial_risk():
    inputs = keras.Input(shape=(25,))  # 25 financial features
    x = keras.layers.Dense(128, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Reshape((1, 128))(x)
    attention = InterpretableMultiHeadAttention(d_model=128, n_head=12)
    x = attention(x, x, x)
    assert attention.attention_scores is None  # a model that is being built has attended to nothing yet
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu")(x)
    x = keras.layers.Dropout(0.3)(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.predict(np.ones((7, 25), "float32"), verbose=0)
    assert attention.attention_scores.shape == (7, 12, 1, 1)


def visualize_attention(attention_scores, feature_names=None, head_idx=0):
    """Visualize attention patterns for a specific head."""
    scores = attention_scores[0, head_idx, :, :]  # Shape: (seq_len, seq_len)
    plt.figure(figsize=(10, 8))
    plt.imshow(scores, cmap="Blues", aspect="auto")
    plt.colorbar(label="Attention Weight")
    plt.title(f"Attention Pattern - Head {head_idx}")
    plt.xlabel("Key Position")
    plt.ylabel("Query Position")
    if feature_names:
        plt.xticks(range(len(feature_names)), feature_names, rotation=45)
        plt.yticks(range(len(feature_names)), feature_names)
    plt.tight_layout()
    return plt.gcf()


def test_example_3_attention_visualization():
    layer = InterpretableMultiHeadAttention(d_model=4, n_head=3)
    layer(keras.random.normal((2, 5, 8)))
    figure = visualize_attention(layer.attention_scores, feature_names=[f"feature{n}" for n in range(5)], head_idx=1)
    axes = figure.axes[0]
    np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), layer.attention_scores[0, 1])
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"feature{n}" for n in range(5)]
    plt.close(figure)


def test_features_as_tokens_attend_to_each_other():
    """The medical example done right, on a real data set: one token per feature, the scores between features."""
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    x = ((data.data - data.data.mean(axis=0)) / data.data.std(axis=0)).astype("float32")
    malignant = (data.target == 0).astype("float32")
    inputs = keras.Input(shape=(30,))
    tokens = keras.layers.EinsumDense("bf,fd->bfd", (30, 8), bias_axes="fd")(inputs)
    attended = InterpretableMultiHeadAttention(d_model=8, n_head=2, name="between_features")(tokens)
    pooled = keras.layers.Flatten()(keras.layers.Add()([tokens, attended]))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x[:450], malignant[:450], epochs=8, batch_size=32, verbose=0)
    assert model.evaluate(x[450:], malignant[450:], verbose=0)[1] > 0.9
    assert model.get_layer("between_features").attention_scores.shape == (119 % 32, 2, 30, 30)  # evaluate's last batch
    maps = ats.capture(model, x[450:], labels=names)
    scores = maps["between_features"]
    assert scores.shape == (119, 2, 30, 30)
    assert scores.key_label.values.tolist() == names
    assert "single_key" not in {finding.kind for finding in maps.findings}
    assert scores.std("key").mean() > 1e-4  # in the printed examples it is 0
