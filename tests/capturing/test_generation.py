"""Generation: one pass over prompt and output equals the steps in which the output was written."""

import keras
import numpy as np
import pytest

keras_hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")

import attnscope as ats  # noqa: E402

pytestmark = pytest.mark.every_backend

VOCABULARY = ["<|endoftext|>", *"abcdefghĠ", "Ġa", "ab"]


@pytest.fixture(scope="module")
def task():
    keras.utils.set_random_seed(5)
    tokenizer = keras_hub.models.GPT2Tokenizer(
        vocabulary={token: number for number, token in enumerate(VOCABULARY)}, merges=["Ġ a", "a b"]
    )
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=9)
    backbone = keras_hub.models.GPT2Backbone(len(VOCABULARY), 2, 2, 10, 17, max_sequence_length=9)
    for weight in backbone.trainable_weights:
        noise = np.random.default_rng(len(weight.path)).normal(size=weight.shape)
        weight.assign(keras.ops.convert_to_tensor(noise.astype("float32")))
    return keras_hub.models.GPT2CausalLM(backbone, preprocessor)


def test_one_pass_equals_the_steps_without_a_cache(task):
    task.compile(sampler="greedy")
    maps = ats.capture_generation(task, ["abc", "d"], max_length=9, stop_token_ids=None)
    tokens = np.array(maps[next(iter(maps))].coords["key_label"].values)
    assert len(maps) == 2
    assert maps.inputs.values[0].startswith("abc")
    assert tokens[1, 1] == "d"
    ids = np.array([[VOCABULARY.index(token) for token in row] for row in tokens])
    for length in (2, 5, ids.shape[1]):
        step = {"token_ids": ids[:, :length], "padding_mask": np.ones((2, length), bool)}
        so_far = ats.capture(task.backbone, step)
        for whole, part in zip(maps.values(), so_far.values(), strict=True):
            np.testing.assert_allclose(
                whole.values[:, :, length - 1, :length], part.values[:, :, length - 1], atol=1e-5
            )
            assert not whole.values[:, :, length - 1, length:].any()


def test_the_tokens_are_those_that_the_model_generates(task):
    task.compile(sampler="greedy")
    maps = ats.capture_generation(task, "abc", max_length=8)
    assert str(maps.inputs.values[0]) == task.generate("abc", max_length=8)
    assert maps.num_samples == 1


def test_raw_text_is_preprocessed_and_labelled(task):
    maps = ats.capture(task, ["abc", "def gh"])
    scores = maps[next(iter(maps))]
    assert maps.inputs.values.tolist() == ["abc", "def gh"]
    assert scores.coords["key_label"].values[0, :4].tolist() == ["<|endoftext|>", "ab", "c", "<|endoftext|>"]
    assert scores.coords["key_valid"].values[0].sum() == 4


def test_a_model_that_cannot_generate_is_refused():
    inputs = keras.Input((3,))
    with pytest.raises(ats.errors.UnsupportedError) as error:
        ats.capture_generation(keras.Model(inputs, inputs * 2), "abc")
    assert str(error.value) == (
        "The model is a Functional, but a KerasHub CausalLM with a preprocessor is needed, such as "
        "keras_hub.models.GPT2CausalLM. For other models, generate first, and capture the finished inputs: "
        "ats.capture(model, inputs)."
    )


def test_images_go_through_the_tasks_preprocessor_and_patches_are_labelled():
    backbone = keras_hub.models.ViTBackbone((16, 16, 3), 8, 2, 2, 10, 17)
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(
        keras_hub.layers.ViTImageConverter(image_size=(16, 16), scale=1 / 255)
    )
    task = keras_hub.models.ViTImageClassifier(backbone, 3, preprocessor=preprocessor)
    images = np.random.default_rng(0).integers(0, 255, (2, 20, 24, 3)).astype("uint8")
    maps = ats.capture(task, images)
    scores = maps[next(iter(maps))]
    assert scores.sizes == {"sample": 2, "head": 2, "query": 5, "key": 5}
    assert scores.coords["key_label"].values.tolist() == [
        "[CLS]",
        "row 0, column 0",
        "row 0, column 1",
        "row 1, column 0",
        "row 1, column 1",
    ]
    np.testing.assert_allclose(maps.outputs, task.predict(images, verbose=0), atol=1e-5)
