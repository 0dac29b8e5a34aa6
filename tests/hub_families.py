"""Every backbone that KerasHub exports, built tiny with random weights, and inputs for it.

The families are read from the installed KerasHub, so a new one is met by itself. Most are built from their own
signature: `TINY` says how small each parameter of that name is. Those that are made of other models, or whose
parameters say nothing by their names, have an entry in `BUILT_BY_HAND`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np
from keras import tree
from keras_hub import layers as hub_layers
from keras_hub import models as hub

BATCH = 3
LENGTHS = {"encoder": 7, "decoder": 5}
"""Positions of a text, by a word in the name of the input."""
LENGTH = 7
VOCABULARY = 11

TINY: dict[str, Any] = {
    "vocabulary_size": VOCABULARY,
    "vocab_size": VOCABULARY,
    "num_layers": 2,
    "num_layers_enc": 2,
    "num_layers_dec": 2,
    "encoder_num_layers": 2,
    "decoder_num_layers": 2,
    "num_heads": 2,
    "encoder_num_heads": 2,
    "decoder_num_heads": 2,
    "num_attention_heads": 4,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "encoder_num_attention_heads": 4,
    "encoder_num_key_value_heads": 2,
    "encoder_head_dim": 4,
    "encoder_hidden_dim": 16,
    "encoder_intermediate_dim": 13,
    "encoder_layer_types": ["full_attention", "sliding_attention"],
    "decoder_num_attention_heads": 4,
    "decoder_num_key_value_heads": 2,
    "decoder_head_dim": 4,
    "decoder_hidden_dim": 16,
    "decoder_intermediate_dim": 13,
    "decoder_layer_types": ["full_attention", "sliding_attention"],
    "sliding_window": 3,
    "hidden_dim": 16,
    "hidden_size": 16,
    "embedding_dim": 16,
    "head_dim": 8,
    "head_size": 8,
    "intermediate_dim": 13,
    "mlp_dim": 13,
    "moe_intermediate_dim": 13,
    "shared_expert_intermediate_dim": 13,
    "shared_expert_intermediate_size": 13,
    "num_experts": 3,
    "top_k": 2,
    "image_size": 16,
    "image_shape": (16, 16, 3),
    "patch_size": 4,
}
"""Small sizes by the name of a backbone's parameter; all other parameters keep their defaults."""


class NotBuildableError(Exception):
    """A backbone that the general mechanism cannot build."""


def backbones() -> dict[str, type]:
    """All backbone classes that the installed KerasHub exports; of several names for one class the first."""
    found: dict[str, type] = {}
    for name in sorted(dir(hub)):
        cls = getattr(hub, name)
        if inspect.isclass(cls) and issubclass(cls, hub.Backbone) and cls not in found.values():
            found[name] = cls
    return {name: cls for name, cls in found.items() if name not in ABSTRACT}


ABSTRACT = {"Backbone", "FeaturePyramidBackbone"}


def built_from_its_signature(cls: type, **overrides: Any) -> keras.Model:
    """The backbone with `TINY` sizes.

    Raises:
        NotBuildableError: A parameter without a default has no entry, or the sizes do not go together.
    """
    parameters = inspect.signature(cls.__init__).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    sizes = {p.name: TINY[p.name] for p in named if p.name in TINY} | overrides
    unknown = [p.name for p in named if p.default is p.empty and p.name not in sizes]
    if unknown:
        raise NotBuildableError(f"no tiny size is known for {', '.join(unknown)}")
    return cls(**sizes)


def tiny(family: str, /, **overrides: Any) -> Callable[[], keras.Model]:
    return lambda: built_from_its_signature(getattr(hub, family), **overrides)


# ---- inputs


def inputs_of(model: keras.Model, **overrides: Any) -> Any:
    """Inputs that fit what the model declares, made from names, shapes and dtypes."""
    rng = np.random.default_rng(0)
    declared = model.input
    if isinstance(declared, list):
        declared = {tensor.name: tensor for tensor in declared}
    if not isinstance(declared, dict):
        return example(declared, rng, overrides)
    return {name: example(tensor, rng, overrides, name) for name, tensor in declared.items()}


def example(tensor: Any, rng: np.random.Generator, overrides: dict[str, Any], name: str = "") -> np.ndarray:
    name = name or tensor.name
    if name in overrides:
        return overrides[name]
    length = next((size for word, size in LENGTHS.items() if word in name), LENGTH)
    shape = (BATCH, *(length if size is None else size for size in tensor.shape[1:]))
    if name.endswith("mask") and len(shape) == 2:
        return padding(shape, tensor.dtype)
    if name.endswith("segment_ids"):
        return np.tile(np.arange(shape[1]) > shape[1] // 2, (BATCH, 1)).astype(tensor.dtype)
    if name.endswith("token_ids"):
        return rng.integers(1, VOCABULARY, shape).astype(tensor.dtype)
    if name == "position_ids":
        return np.tile(np.arange(shape[1]), (BATCH, 1)).astype(tensor.dtype)
    return rng.normal(size=shape).astype(tensor.dtype)


def padding(shape: tuple[int, ...], dtype: str = "int32") -> np.ndarray:
    """A mask whose first sample has its last two positions padded."""
    mask = np.ones(shape, dtype)
    mask[0, -2:] = 0
    return mask


# ---- families that are made of other models, or whose parameters say nothing by their names

IMAGE = (16, 16, 3)
PATCH = 4


def _clip(prefix: str, **text: Any) -> tuple[keras.Model, keras.Model]:
    vision = built_from_its_signature(getattr(hub, f"{prefix}VisionEncoder"))
    return vision, built_from_its_signature(getattr(hub, f"{prefix}TextEncoder"), **text)


def _two_towers(prefix: str, **sizes: Any) -> keras.Model:
    text = {"max_sequence_length": LENGTH} if prefix == "SigLIP" else {}
    vision_encoder, text_encoder = _clip(prefix, **text)
    return getattr(hub, f"{prefix}Backbone")(vision_encoder=vision_encoder, text_encoder=text_encoder, **sizes)


def _blip2() -> keras.Model:
    from keras_hub.src.models.blip2.blip2_custom_opt import BLIP2CustomOPT
    from keras_hub.src.models.blip2.blip2_qformer import BLIP2QFormer
    from keras_hub.src.models.blip2.blip2_vision_encoder import BLIP2VisionEncoder

    vision = built_from_its_signature(
        BLIP2VisionEncoder,
        use_patch_bias=True,
        use_class_token=True,
        use_mha_bias=True,
        use_mlp_bias=True,
        dropout_rate=0.0,
        layer_norm_epsilon=1e-6,
        initializer_range=0.02,
    )
    qformer = built_from_its_signature(
        BLIP2QFormer,
        num_query_tokens=3,
        vision_dim=16,
        cross_attention_frequency=2,
        dropout=0.0,
        layer_norm_epsilon=1e-6,
    )
    language = built_from_its_signature(
        BLIP2CustomOPT, num_query_tokens=3, dropout=0.0, max_sequence_length=17, qformer_hidden_dim=16
    )
    return hub.BLIP2Backbone(vision_encoder=vision, qformer=qformer, language_model=language)


def _d_fine() -> keras.Model:
    stages = [[4, 4, 8, 1, 3, 3], [8, 4, 8, 1, 3, 3], [8, 4, 16, 1, 3, 3], [16, 4, 16, 1, 3, 3]]
    pyramid = _hgnet(stages, out_features=["stage3", "stage4"])
    return hub.DFineBackbone(
        backbone=pyramid,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_labels=5,
        num_denoising=0,
        learn_initial_query=False,
        num_queries=7,
        anchor_image_size=(64, 64),
        feat_strides=[16, 32],
        num_feature_levels=2,
        hidden_dim=16,
        encoder_in_channels=[16, 16],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=13,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.3,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=13,
        decoder_n_points=[3, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=(64, 64, 3),
        seed=0,
    )


def _hgnet(stages: list[list[int]], **rest: Any) -> keras.Model:
    return hub.HGNetV2Backbone(
        depths=[1] * len(stages),
        embedding_size=4,
        hidden_sizes=[stage[2] for stage in stages],
        stem_channels=[3, 4, 4],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=stages,
        apply_downsample=[False] + [True] * (len(stages) - 1),
        use_lightweight_conv_block=[False] * len(stages),
        image_shape=(64, 64, 3),
        **rest,
    )


def _depth_anything() -> keras.Model:
    encoder = built_from_its_signature(hub.DINOV2Backbone, num_layers=4, image_shape=(32, 32, 3))
    return hub.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[4, 4, 8, 8],
        fusion_hidden_dim=8,
        head_hidden_dim=4,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def _flux() -> keras.Model:
    return hub.FluxBackbone(
        input_channels=6,
        hidden_size=16,
        mlp_ratio=2.0,
        num_heads=2,
        depth=2,
        depth_single_blocks=2,
        axes_dim=[2, 2, 4],
        theta=10_000,
        use_bias=True,
        image_shape=(7, 6),
        text_shape=(5, 6),
        image_ids_shape=(7, 3),
        text_ids_shape=(5, 3),
        y_shape=(6,),
    )


def _gemma3_vision(output_dim: int = 16) -> keras.Model:
    from keras_hub.src.models.gemma3.gemma3_vision_encoder import Gemma3VisionEncoder

    return built_from_its_signature(Gemma3VisionEncoder, output_dim=output_dim, pool_size=2)


def _gemma4(**encoders: Any) -> keras.Model:
    sizes = {"sliding_window_size": 3, "sliding_window_pattern": 2, "image_size": 16}
    return built_from_its_signature(hub.Gemma4Backbone, **sizes, **encoders)


def _gemma4_multimodal() -> keras.Model:
    from keras_hub.src.models.gemma4.gemma4_audio_encoder import Gemma4AudioEncoder
    from keras_hub.src.models.gemma4.gemma4_vision_encoder import Gemma4VisionEncoder

    vision = built_from_its_signature(Gemma4VisionEncoder, output_dim=16, pool_size=2, num_key_value_heads=2)
    audio = Gemma4AudioEncoder(
        input_feat_size=8,
        hidden_size=8,
        num_heads=2,
        num_layers=1,
        chunk_size=2,
        context_left=3,
        context_right=1,
        sscp_conv_channels=(4, 4),
        output_proj_dims=None,
        output_dim=16,
    )
    return _gemma4(vision_encoder=vision, audio_encoder=audio, num_audio_tokens_per_clip=5)


def _gemma3n(**encoders: Any) -> keras.Model:
    return hub.Gemma3nBackbone(
        text_vocab_size=VOCABULARY,
        text_hidden_size=16,
        num_hidden_layers=2,
        pad_token_id=0,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        intermediate_size=[13, 13],
        hidden_activation="gelu_approximate",
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=3,
        rope_theta=10_000.0,
        max_position_embeddings=17,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=2,
        altup_num_inputs=2,
        laurel_rank=1,
        **encoders,
    )


def _gemma3n_multimodal() -> keras.Model:
    from keras_hub.src.models.gemma3n.gemma3n_audio_encoder import Gemma3nAudioEncoder

    audio = Gemma3nAudioEncoder(
        hidden_size=8,
        input_feat_size=8,
        sscp_conv_channel_size=[4, 4],
        sscp_conv_kernel_size=[(3, 3), (3, 3)],
        sscp_conv_stride_size=[(2, 2), (2, 2)],
        sscp_conv_group_norm_eps=1e-5,
        num_hidden_layers=1,
        rms_norm_eps=1e-6,
        gradient_clipping=1.0,
        residual_weight=0.5,
        num_attention_heads=2,
        attention_chunk_size=2,
        num_attention_context_right=1,
        num_attention_context_left=3,
        attention_logit_cap=50.0,
        conv_kernel_size=5,
        reduction_factor=1,
    )
    vision = _mobile_net_v5(["er_r1_k3_s2_e1_c16"])
    return _gemma3n(
        vision_encoder_config=vision.get_config(),
        vision_hidden_size=16,
        vision_soft_tokens_per_image=64,
        audio_encoder_config=audio.get_config(),
        audio_hidden_size=8,
        audio_soft_tokens_per_image=5,
    )


def _mobile_net_v5(stack: list[str]) -> keras.Model:
    from keras_hub.src.models.mobilenetv5.mobilenetv5_builder import convert_arch_def_to_stackwise

    sizes = convert_arch_def_to_stackwise([stack])
    return hub.MobileNetV5Backbone(**sizes, num_features=4, image_shape=(32, 32, 3), use_msfa=False)


def _mit() -> keras.Model:
    return hub.MiTBackbone(
        image_shape=(32, 32, 3),
        num_layers=2,
        hidden_dims=[8, 16],
        layerwise_depths=[1, 2],
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        max_drop_path_rate=0.0,
    )


def _segformer() -> keras.Model:
    encoder = hub.MiTBackbone(
        image_shape=(64, 64, 3),
        num_layers=4,
        hidden_dims=[8, 16, 24, 32],
        layerwise_depths=[1, 1, 1, 1],
        layerwise_num_heads=[1, 2, 3, 4],
        layerwise_sr_ratios=[4, 2, 1, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.0,
    )
    return hub.SegFormerBackbone(image_encoder=encoder, projection_filters=8)


def _parseq() -> keras.Model:
    encoder = built_from_its_signature(hub.ViTBackbone, use_class_token=False)
    return hub.PARSeqBackbone(
        image_encoder=encoder,
        vocabulary_size=VOCABULARY,
        max_label_length=LENGTH,
        decoder_hidden_dim=16,
        num_decoder_layers=1,
        num_decoder_heads=2,
        decoder_mlp_dim=13,
    )


def _resnet(image_shape: tuple[Any, ...] = (32, 32, 3), **sizes: Any) -> keras.Model:
    given = {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [3],
        "stackwise_num_filters": [64, 8],
        "stackwise_num_blocks": [1, 1],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block",
    }
    return hub.ResNetBackbone(**(given | sizes), image_shape=image_shape)


def _four_stages(**rest: Any) -> keras.Model:
    return _resnet(
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1] * 4,
        stackwise_num_strides=[1, 2, 2, 2],
        **rest,
    )


def _basnet() -> keras.Model:
    return hub.BASNetBackbone(
        image_encoder=_four_stages(image_shape=(None, None, 3)),
        num_classes=1,
        image_shape=(64, 64, 3),
        projection_filters=64,
    )


def _sam() -> keras.Model:
    encoder = tiny("ViTDetBackbone", global_attention_layer_indices=[1], window_size=3, num_output_channels=8)()
    prompts = hub_layers.SAMPromptEncoder(
        hidden_size=8, image_embedding_size=(4, 4), input_image_size=(16, 16), mask_in_channels=4
    )
    decoder = hub_layers.SAMMaskDecoder(
        num_layers=2,
        hidden_size=8,
        intermediate_dim=13,
        num_heads=2,
        embedding_dim=8,
        num_multimask_outputs=3,
        iou_head_depth=2,
        iou_head_hidden_dim=8,
    )
    return hub.SAMBackbone(image_encoder=encoder, prompt_encoder=prompts, mask_decoder=decoder)


def _sam3() -> keras.Model:
    shared = {"hidden_dim": 16, "intermediate_dim": 13, "num_heads": 2, "num_layers": 1}
    image_shape = (32, 32, 3)
    return hub.SAM3PromptableConceptBackbone(
        vision_encoder=hub_layers.SAM3VisionEncoder(
            image_shape=image_shape,
            patch_size=4,
            fpn_hidden_dim=16,
            fpn_scale_factors=[4.0, 2.0, 1.0, 0.5],
            pretrain_image_shape=(16, 16, 3),
            window_size=2,
            global_attn_indexes=[1],
            **(shared | {"num_layers": 2}),
        ),
        text_encoder=hub_layers.SAM3TextEncoder(vocabulary_size=VOCABULARY, embedding_dim=16, **shared),
        geometry_encoder=hub_layers.SAM3GeometryEncoder(roi_size=3, **shared),
        detr_encoder=hub_layers.SAM3DetrEncoder(**shared),
        detr_decoder=hub_layers.SAM3DetrDecoder(image_shape=image_shape, patch_size=4, num_queries=11, **shared),
        mask_decoder=hub_layers.SAM3MaskDecoder(num_upsampling_stages=3, hidden_dim=16, num_heads=2),
    )


def _stable_diffusion_3() -> keras.Model:
    from keras_hub.src.models.vae.vae_backbone import VAEBackbone

    text = {"max_sequence_length": LENGTH, "intermediate_output_index": 0}
    model = hub.StableDiffusion3Backbone(
        mmdit_patch_size=2,
        mmdit_hidden_dim=16,
        mmdit_num_layers=2,
        mmdit_num_heads=2,
        mmdit_position_size=17,
        mmdit_qk_norm=None,
        mmdit_dual_attention_indices=None,
        vae=VAEBackbone([32] * 4, [1] * 4, [32] * 4, [1] * 4, sample_channels=32, sampler_method="mode"),
        clip_l=tiny("CLIPTextEncoder", name="clip_l", **text)(),
        clip_g=tiny("CLIPTextEncoder", name="clip_g", **text)(),
        image_shape=(64, 64, 3),
    )
    model.scheduler.set_sigmas(5)  # else it keeps what its first call computes, which must not be a trace
    return model


def _swin() -> keras.Model:
    return hub.SwinTransformerBackbone(
        image_shape=(32, 32, 3), embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=4
    )


@dataclass(frozen=True)
class Variant:
    """One way to build a family.

    Attributes:
        family: Name of the backbone class.
        build: Makes the model.
        note: What sets it apart from the family's other variants; empty for the first.
        given: Inputs that names and shapes do not give.
        cannot: Backends on which KerasHub cannot run it, and why.
        reversed: The same samples in the reverse order.
    """

    family: str
    build: Callable[[], keras.Model]
    note: str = ""
    given: Callable[[], dict[str, Any]] = dict
    cannot: dict[str, str] = field(default_factory=dict)
    reversed: Callable[[Any], Any] = lambda inputs: tree.map_structure(lambda array: array[::-1], inputs)

    @property
    def name(self) -> str:
        return f"{self.family}, {self.note}" if self.note else self.family

    def inputs(self, model: keras.Model) -> Any:
        return inputs_of(model, **self.given())


def _sam_prompts() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "points": rng.uniform(0, 16, (BATCH, 5, 2)).astype("float32"),
        "labels": np.ones((BATCH, 5), "float32"),
        "boxes": rng.uniform(0, 16, (BATCH, 1, 2, 2)).astype("float32"),
        "masks": rng.normal(size=(BATCH, 1, 16, 16, 1)).astype("float32"),
    }


def _sam3_prompts() -> dict[str, Any]:
    # As many boxes, with the learned token, as samples: on TensorFlow and PyTorch KerasHub's mask fits no other number.
    boxes = np.random.default_rng(1).uniform(0.1, 0.5, (BATCH, BATCH - 1, 5)).astype("float32")
    boxes[:, :, 0] = np.arange(BATCH)[:, None]
    return {"boxes": boxes, "box_labels": np.ones((BATCH, BATCH - 1), "int32")}


def _sam3_reversed(inputs: dict[str, Any]) -> dict[str, Any]:
    """The first number of a box is its place in the batch."""
    turned = {name: array[::-1].copy() for name, array in inputs.items()}
    turned["boxes"][:, :, 0] = inputs["boxes"][:, :, 0]
    return turned


def _images_in_text(length: int, tokens: int) -> dict[str, Any]:
    """The first `tokens` positions after the start are an image."""
    places = np.arange(1, tokens + 1)
    mask = np.zeros((BATCH, length), "int32")
    mask[:, places] = 1
    ids = np.random.default_rng(1).integers(1, VOCABULARY, (BATCH, length)).astype("int32")
    return {
        "vision_indices": np.tile(places, (BATCH, 1)).astype("int32"),
        "vision_mask": mask,
        "token_ids": ids,
        "encoder_token_ids": ids,
        "images": np.random.default_rng(2).normal(size=(BATCH, 1, 16, 16, 3)).astype("float32"),
        "padding_mask": padding((BATCH, length)),
        "encoder_padding_mask": padding((BATCH, length)),
    }


def _gemma4_inputs() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    length, tokens = 13, 4
    rows, columns = np.divmod(np.arange(16), 4)
    given = _images_in_text(length, tokens)
    audio = np.arange(6, 11)
    audio_mask = np.zeros((BATCH, length), "int32")
    audio_mask[:, audio] = 1
    return given | {
        "position_ids": np.tile(np.arange(length), (BATCH, 1)).astype("int32"),
        "pixel_values": rng.normal(size=(BATCH, 1, 16, 48)).astype("float32"),
        "pixel_position_ids": np.tile(np.stack([columns, rows], -1), (BATCH, 1, 1, 1)).astype("int32"),
        "audio_indices": np.tile(audio, (BATCH, 1)).astype("int32"),
        "audio_mask": audio_mask,
        "audio_mel": rng.normal(size=(BATCH, 1, 20, 8)).astype("float32"),
        "audio_mel_mask": np.ones((BATCH, 1, 20), "int32"),
    }


def _gemma3n_inputs() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "images": rng.normal(size=(BATCH, 1, 32, 32, 3)).astype("float32"),
        "input_features": rng.normal(size=(BATCH, 1, 20, 8)).astype("float32"),
        "input_features_mask": np.zeros((BATCH, 1, 20), "bool"),
    }


def _moonshine_inputs() -> dict[str, Any]:
    samples = 3200  # what the three convolutions make 7 positions of
    mask = np.ones((BATCH, samples), "bool")
    mask[0, 2000:] = False
    rng = np.random.default_rng(1)
    return {
        "encoder_input_values": rng.normal(size=(BATCH, samples, 1)).astype("float32"),
        "encoder_padding_mask": mask,
    }


def _diffusion_inputs() -> dict[str, Any]:
    return {"num_steps": np.full((BATCH,), 5, "int32"), "guidance_scale": np.full((BATCH,), 3.0, "float32")}


_GEMMA3 = {"sliding_window_size": 3, "use_sliding_window_attention": True, "attention_logit_soft_cap": 50.0}
_QWEN_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
}
_LLAMA_TYPES = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention", "full_attention"],
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 17,
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 1.0,
}

BUILT_BY_HAND: tuple[Variant, ...] = (
    Variant("BASNetBackbone", _basnet),
    Variant("BLIP2Backbone", _blip2),
    Variant("CLIPBackbone", lambda: _two_towers("CLIP", projection_dim=5)),
    Variant(
        "CSPNetBackbone",
        lambda: hub.CSPNetBackbone(
            stem_filters=4,
            stem_kernel_size=3,
            stem_strides=2,
            stackwise_depth=[1, 1],
            stackwise_strides=[1, 2],
            stackwise_num_filters=[4, 4],
            block_type="dark_block",
            stage_type="dark",
            image_shape=(32, 32, 3),
            output_strides=32,
        ),
    ),
    Variant("DFineBackbone", _d_fine),
    Variant(
        "DeepLabV3Backbone",
        lambda: hub.DeepLabV3Backbone(
            image_encoder=_four_stages(),
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P5",
            upsampling_size=8,
            dilation_rates=[1, 2],
            projection_filters=4,
            image_shape=(32, 32, 3),
        ),
    ),
    Variant(
        "DenseNetBackbone",
        lambda: hub.DenseNetBackbone(stackwise_num_repeats=[1, 1], growth_rate=4, image_shape=(32, 32, 3)),
    ),
    Variant("DepthAnythingBackbone", _depth_anything),
    Variant(
        "EfficientNetBackbone",
        lambda: hub.EfficientNetBackbone(
            stackwise_kernel_sizes=[3, 3],
            stackwise_num_repeats=[1, 1],
            stackwise_input_filters=[8, 8],
            stackwise_output_filters=[8, 8],
            stackwise_expansion_ratios=[1, 2],
            stackwise_squeeze_and_excite_ratios=[0.0, 0.25],
            stackwise_strides=[1, 2],
            stackwise_block_types=["fused", "unfused"],
            stackwise_width_coefficients=[1.0, 1.0],
            stackwise_depth_coefficients=[1.0, 1.0],
            stackwise_force_input_filters=[0, 0],
            stackwise_nores_option=[False, False],
            num_features=8,
            input_shape=(32, 32, 3),
        ),
    ),
    Variant("FluxBackbone", _flux),
    Variant("Gemma3Backbone", tiny("Gemma3Backbone", **_GEMMA3)),
    Variant(
        "Gemma3Backbone",
        lambda: tiny("Gemma3Backbone", vision_encoder=_gemma3_vision(), **_GEMMA3)(),
        "with images",
        lambda: _images_in_text(11, 4),
    ),
    Variant("Gemma3nBackbone", _gemma3n),
    Variant("Gemma3nBackbone", _gemma3n_multimodal, "with images and sound", _gemma3n_inputs),
    Variant("Gemma4Backbone", _gemma4),
    Variant("Gemma4Backbone", _gemma4_multimodal, "with images and sound", _gemma4_inputs),
    Variant(
        "GemmaBackbone",
        tiny(
            "GemmaBackbone",
            attention_logit_soft_cap=50.0,
            use_sliding_window_attention=True,
            sliding_window_size=3,
        ),
        "with a sliding window and soft cap",
    ),
    Variant("GemmaBackbone", tiny("GemmaBackbone")),
    Variant("GptOssBackbone", tiny("GptOssBackbone")),
    Variant("HGNetV2Backbone", lambda: _hgnet([[4, 4, 8, 1, 3, 3], [8, 4, 8, 1, 3, 3]])),
    Variant("MetaCLIP2Backbone", lambda: _two_towers("MetaCLIP2", projection_dim=5)),
    Variant("MiTBackbone", _mit),
    Variant(
        "MobileNetBackbone",
        lambda: hub.MobileNetBackbone(
            stackwise_expansion=[[8], [8]],
            stackwise_num_blocks=[1, 1],
            stackwise_num_filters=[[8], [8]],
            stackwise_kernel_size=[[3], [3]],
            stackwise_num_strides=[[2], [2]],
            stackwise_se_ratio=[[None], [0.25]],
            stackwise_activation=[["relu"], ["hard_swish"]],
            stackwise_padding=[[1], [1]],
            output_num_filters=8,
            depthwise_filters=8,
            depthwise_stride=1,
            depthwise_residual=False,
            last_layer_filter=8,
            squeeze_and_excite=0.5,
            input_num_filters=8,
            image_shape=(32, 32, 3),
        ),
    ),
    Variant(
        "MobileNetV5Backbone",
        lambda: _mobile_net_v5(["er_r1_k3_s2_e1_c16", "mqa_r1_k3_h2_v2_s1_d4_c16", "mqa_r1_k3_h2_s1_d4_c16"]),
    ),
    Variant(
        "MobileNetV5Backbone",
        lambda: _mobile_net_v5(["er_r1_k3_s2_e1_c16", "mha_r1_k3_h2_s1_d4_c16"]),
        "with its multi-head block",
        cannot={"tensorflow": "KerasHub 0.32 cannot build this block for an unknown batch size on TensorFlow"},
    ),
    Variant("MoonshineBackbone", tiny("MoonshineBackbone", filter_dim=16), given=_moonshine_inputs),
    Variant("PARSeqBackbone", _parseq),
    Variant(
        "PaliGemmaBackbone",
        tiny("PaliGemmaBackbone", vit_patch_size=4, vit_num_heads=2, vit_hidden_dim=8, vit_num_layers=2),
    ),
    Variant("Qwen3_5Backbone", tiny("Qwen3_5Backbone", **_QWEN_LINEAR)),
    Variant(
        "Qwen3_5MoeBackbone",
        tiny("Qwen3_5MoeBackbone", **(_QWEN_LINEAR | {"layer_types": ["full_attention"] * 2})),
    ),
    Variant("ResNetBackbone", _resnet),
    Variant(
        "RetinaNetBackbone",
        lambda: hub.RetinaNetBackbone(
            image_encoder=_four_stages(image_shape=(64, 64, 3)),
            min_level=3,
            max_level=4,
            use_p5=False,
            image_shape=(64, 64, 3),
        ),
    ),
    Variant(
        "SAM3PromptableConceptBackbone",
        _sam3,
        given=_sam3_prompts,
        cannot={} if find_spec("torchvision") else {"torch": "on PyTorch KerasHub's SAM 3 needs torchvision"},
        reversed=_sam3_reversed,
    ),
    Variant("SAMBackbone", _sam, given=_sam_prompts),
    Variant(
        "SAMBackbone",
        lambda: hub.SAMImageSegmenter(_sam()),
        "with its mask decoder (SAMImageSegmenter)",
        _sam_prompts,
    ),
    Variant("SegFormerBackbone", _segformer),
    Variant("SigLIPBackbone", lambda: _two_towers("SigLIP")),
    Variant("SigLIPTextEncoder", tiny("SigLIPTextEncoder", max_sequence_length=LENGTH)),
    Variant("SmolLM3Backbone", tiny("SmolLM3Backbone", **_LLAMA_TYPES)),
    Variant("SmolLMBackbone", tiny("SmolLMBackbone", **_LLAMA_TYPES)),
    Variant("StableDiffusion3Backbone", _stable_diffusion_3, given=_diffusion_inputs),
    Variant("SwinTransformerBackbone", _swin),
    Variant(
        "T5Gemma2Backbone",
        lambda: tiny("T5Gemma2Backbone", vision_encoder=_gemma3_vision())(),
        "with images",
        lambda: _images_in_text(11, 4),
    ),
    Variant("T5Gemma2Backbone", tiny("T5Gemma2Backbone")),
    Variant(
        "VGGBackbone",
        lambda: hub.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[4, 4], image_shape=IMAGE),
    ),
    Variant(
        "ViTDetBackbone",
        tiny("ViTDetBackbone", global_attention_layer_indices=[1], window_size=3, num_output_channels=8),
    ),
    Variant(
        "VideoPrismBackbone",
        tiny(
            "VideoPrismBackbone",
            num_frames=5,
            num_spatial_layers=2,
            num_temporal_layers=2,
            num_auxiliary_layers=1,
            num_text_layers=2,
        ),
        "with text",
    ),
    Variant(
        "VideoPrismBackbone",
        tiny(
            "VideoPrismBackbone",
            num_frames=5,
            num_spatial_layers=2,
            num_temporal_layers=2,
            num_auxiliary_layers=0,
            vocabulary_size=0,
        ),
    ),
    Variant(
        "WhisperBackbone",
        tiny("WhisperBackbone", max_encoder_sequence_length=14),
        given=lambda: {"encoder_features": np.random.default_rng(1).normal(size=(BATCH, 14, 80)).astype("float32")},
    ),
    Variant(
        "XLNetBackbone",
        tiny("XLNetBackbone"),
        given=lambda: {
            "padding_mask": np.ones((BATCH, LENGTH), "int32"),
        },
    ),
    Variant(
        "XceptionBackbone",
        lambda: hub.XceptionBackbone(
            stackwise_conv_filters=[[4], [4, 4]], stackwise_pooling=[True, False], image_shape=(32, 32, 3)
        ),
    ),
)


ORDINARY = ("sample", "head", "query", "key")


@dataclass(frozen=True)
class Expected:
    """What a family's tiny model must show, worked out from its architecture.

    Attributes:
        calls: Attention calls in one pass: layers times attention calls in each.
        others: Softmaxes that are no attention (routers, distributions over bins): listed, but not taken.
        heads: Number of query heads, at the calls in their order; one number where all have it.
        causal: Calls in which no query sees a later key.
        dims: For the calls whose dims are not `ORDINARY`: how many have these.
        sinks: Learned sinks at every call.
        by_size: Calls whose trail is lost, so that their dims are known by size alone.
        mixes_samples: Whether KerasHub itself lets what else is in a batch change a sample's scores.
        remark: What a user should know.
    """

    calls: int
    others: int = 0
    heads: tuple[int, ...] = (2,)
    causal: int = 0
    dims: dict[tuple[str, ...], int] = field(default_factory=dict)
    sinks: int = 0
    by_size: int = 0
    mixes_samples: bool = False
    remark: str = ""


WINDOWS = ("sample", "window", *ORDINARY[1:])

EXPECTED: dict[str, Expected] = {
    "AlbertBackbone": Expected(2),
    "BLIP2Backbone": Expected(7, causal=2, remark="2 in the image encoder, 3 in the Q-Former, 2 in the language model"),
    "BartBackbone": Expected(6, causal=2, remark="2 in the encoder, 2 + 2 in the decoder"),
    "BertBackbone": Expected(2),
    "BloomBackbone": Expected(2, causal=2),
    "CLIPBackbone": Expected(4, causal=2),
    "CLIPTextEncoder": Expected(2, causal=2),
    "CLIPVisionEncoder": Expected(2),
    "DFineBackbone": Expected(
        5,
        others=4,
        remark="deformable attention: the keys are sampled points; distributions over box edges are left out",
    ),
    "DINOV2Backbone": Expected(2),
    "DINOV3Backbone": Expected(2),
    "DebertaV3Backbone": Expected(2),
    "DeiTBackbone": Expected(2),
    "DepthAnythingBackbone": Expected(4),
    "DistilBertBackbone": Expected(2),
    "ESM2Backbone": Expected(2),
    "EdRecBackbone": Expected(6, causal=2),
    "ElectraBackbone": Expected(2),
    "FalconBackbone": Expected(2, heads=(4,), causal=2),
    "FluxBackbone": Expected(4),
    "GPT2Backbone": Expected(2, causal=2),
    "GPTNeoXBackbone": Expected(2, causal=2),
    "Gemma3Backbone": Expected(2, heads=(4,), causal=2, remark="sliding window; grouped heads"),
    "Gemma3Backbone, with images": Expected(4, heads=(2, 2, 4, 4), remark="the tokens of an image see each other"),
    "Gemma3nBackbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "Gemma3nBackbone, with images and sound": Expected(
        2,
        others=1,
        heads=(4,),
        causal=2,
        remark="the audio encoder gets one more clip than there are samples, so its attention cannot be taken",
    ),
    "Gemma4Backbone": Expected(2, heads=(4,), causal=2, remark="sliding window; grouped heads"),
    "Gemma4Backbone, with images and sound": Expected(
        5,
        heads=(2, 2, 2, 4, 4),
        causal=2,
        dims={WINDOWS: 1},
        remark="sound: window is the block, query the frame in it, key the frame in the block's context",
    ),
    "GemmaBackbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "GemmaBackbone, with a sliding window and soft cap": Expected(2, heads=(4,), causal=2),
    "GptOssBackbone": Expected(2, others=2, heads=(4,), causal=2, sinks=1, remark="the last key is a learned sink"),
    "Llama3Backbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "LlamaBackbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "MetaCLIP2Backbone": Expected(4, causal=2),
    "MetaCLIP2TextEncoder": Expected(2, causal=2),
    "MetaCLIP2VisionEncoder": Expected(2),
    "MiTBackbone": Expected(3, heads=(1, 2, 2), remark="keys are a coarser grid where the stage reduces them"),
    "MistralBackbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "MixtralBackbone": Expected(2, others=2, heads=(4,), causal=2, remark="grouped heads; routers left out"),
    "MobileNetV5Backbone": Expected(2, remark="one key and value head; keys are a coarser grid in the first"),
    "MobileNetV5Backbone, with its multi-head block": Expected(1),
    "MoonshineBackbone": Expected(6, causal=2),
    "OPTBackbone": Expected(2, causal=2),
    "PARSeqBackbone": Expected(4, causal=1),
    "PaliGemmaBackbone": Expected(4, heads=(2, 2, 4, 4), remark="images and text before the answer see each other"),
    "Phi3Backbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "Qwen2Backbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "Qwen3Backbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "Qwen3MoeBackbone": Expected(2, others=2, heads=(4,), causal=2, remark="grouped heads; routers left out"),
    "Qwen3_5Backbone": Expected(1, heads=(4,), causal=1, remark="the other layer is linear attention, without scores"),
    "Qwen3_5MoeBackbone": Expected(2, others=2, heads=(4,), causal=2, remark="grouped heads; routers left out"),
    "QwenMoeBackbone": Expected(2, others=2, heads=(4,), causal=2, remark="grouped heads; routers left out"),
    "RobertaBackbone": Expected(2),
    "RoformerV2Backbone": Expected(2),
    "SAM3PromptableConceptBackbone": Expected(
        11,
        dims={WINDOWS: 1},
        remark="2 + 1 in the encoders, 2 for boxes, 2 + 3 in the detector, 1 for masks",
    ),
    "SAMBackbone": Expected(2, dims={WINDOWS: 1}),
    "SAMBackbone, with its mask decoder (SAMImageSegmenter)": Expected(9, dims={WINDOWS: 1}),
    "SegFormerBackbone": Expected(4, heads=(1, 2, 3, 4)),
    "SigLIPBackbone": Expected(5, remark="2 + 1 in the image encoder, whose last one pools"),
    "SigLIPTextEncoder": Expected(2),
    "SigLIPVisionEncoder": Expected(3),
    "SmolLM3Backbone": Expected(2, heads=(4,), causal=2, remark="grouped heads"),
    "StableDiffusion3Backbone": Expected(
        12,
        causal=8,
        dims={WINDOWS: 2, ("sample", "query", "key"): 2},
        remark="4 text passes of 2, 2 in the diffuser (guided and not: window), 2 without heads in the image coder",
    ),
    "SwinTransformerBackbone": Expected(3, heads=(2, 2, 4), dims={WINDOWS: 2}),
    "T5Backbone": Expected(6, causal=2),
    "T5Gemma2Backbone": Expected(4, heads=(4,), remark="the decoder's keys are its own, then the encoder's"),
    "T5Gemma2Backbone, with images": Expected(6, heads=(2, 2, 4, 4, 4, 4)),
    "T5GemmaBackbone": Expected(6, heads=(4,), causal=2, remark="grouped heads"),
    "ViTBackbone": Expected(2),
    "ViTDetBackbone": Expected(2, dims={WINDOWS: 1}),
    "VideoPrismBackbone": Expected(4, dims={WINDOWS: 4}, remark="window: the frame in space, the patch in time"),
    "VideoPrismBackbone, with text": Expected(8, causal=2, dims={WINDOWS: 4}),
    "WhisperBackbone": Expected(6, causal=2),
    "XLMRobertaBackbone": Expected(2),
    "XLNetBackbone": Expected(
        2,
        mixes_samples=True,
        remark="tried without padding: KerasHub 0.32 reshapes masks and positions where it should transpose them, and "
        "so mixes the samples of a batch",
    ),
}

WITHOUT_ATTENTION: dict[str, str] = {
    "BASNetBackbone": "convolutions",
    "CSPNetBackbone": "convolutions",
    "DeepLabV3Backbone": "convolutions",
    "DenseNetBackbone": "convolutions",
    "EfficientNetBackbone": "convolutions; squeeze and excitation gates with a sigmoid",
    "FNetBackbone": "mixes positions by a Fourier transform",
    "HGNetV2Backbone": "convolutions",
    "MobileNetBackbone": "convolutions; squeeze and excitation gates with a sigmoid",
    "RWKV7Backbone": "a linear recurrence, without scores",
    "ResNetBackbone": "convolutions",
    "RetinaNetBackbone": "convolutions",
    "VGGBackbone": "convolutions",
    "XceptionBackbone": "convolutions",
}


def cases() -> list[Variant]:
    """Every exported family, by hand where there is an entry, else from its signature."""
    found = []
    for name in backbones():
        by_hand = [variant for variant in BUILT_BY_HAND if variant.family == name]
        found += sorted(by_hand, key=lambda v: v.note) or [Variant(name, tiny(name))]
    return found
