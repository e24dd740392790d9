"""Vision-language models of a few thousand parameters with random weights, and processors of their families.

Tokenizers are trained on the spot; chat templates are short ones in the form of the families' own. No file of a hub.
"""

from __future__ import annotations

import functools
import importlib
from types import SimpleNamespace
from typing import Any

import pytest

SENTENCES = [
    "Q: what action should the robot take to pick up the usb stick? A: 1 128 91 241 5 101 127 217",
    "Put the pot on the stove. What colour is it? A picture of 3, caption 1. yes no",
    "You act at 5 Hz. Look: reach State: Go. Done. Before: Now: grasp Step 1 of 5.",
    *(" ".join(str(n) for n in range(256)) for _ in range(4)),
]

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in c %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VICUNA = (
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.role | upper }}: {% endif %}"
    "{% for c in m.content if c.type == 'image' %}<image>\n{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
IDEFICS = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}:"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text | trim }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<start_of_image>{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def transformers() -> Any:
    pytest.importorskip("torch", reason="torch is not installed")
    return pytest.importorskip("transformers", reason="transformers is not installed")


def _library() -> Any:
    pytest.importorskip("tokenizers.models", reason="the tokenizers library is not installed")
    import tokenizers

    return tokenizers


def byte_level(special: list[str], **named: Any) -> Any:
    """A tokenizer as Qwen's and SmolVLM's: byte-level BPE."""
    t = _library()
    tok = t.Tokenizer(t.models.BPE())
    tok.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = t.decoders.ByteLevel()
    alphabet = t.pre_tokenizers.ByteLevel.alphabet()
    trainer = t.trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator(SENTENCES, trainer)
    return _wrapped(tok, special, named)


def spaced(special: list[str], *, prefix: bool, bos: bool, **named: Any) -> Any:
    """A tokenizer as Llama's (with a space before a text, and a first token) and Gemma's: BPE over "▁", bytes else."""
    t = _library()
    unk, fallback = "<unk>", [f"<0x{n:02X}>" for n in range(256)]
    tok = t.Tokenizer(t.models.BPE(unk_token=unk, byte_fallback=True, fuse_unk=True))
    steps = [t.normalizers.Prepend("▁")] if prefix else []
    tok.normalizer = t.normalizers.Sequence([*steps, t.normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = t.pre_tokenizers.Split("▁", "merged_with_next")
    tok.decoder = t.decoders.Sequence(
        [t.decoders.Replace("▁", " "), t.decoders.ByteFallback(), t.decoders.Fuse()]
    )  # fmt: skip
    tok.train_from_iterator(
        SENTENCES,
        t.trainers.BpeTrainer(vocab_size=800, special_tokens=[unk, *special, *fallback], show_progress=False),
    )
    if bos:
        first = named["bos_token"]
        tok.post_processor = t.processors.TemplateProcessing(
            f"{first} $A", f"{first} $A $B:1", [(first, tok.token_to_id(first))]
        )
    return _wrapped(tok, special, {"unk_token": unk} | named)


def _wrapped(tok: Any, special: list[str], named: dict[str, Any]) -> Any:
    tok.add_special_tokens(special)
    named = {"additional_special_tokens": [token for token in special if token not in named.values()]} | named
    if "extra_special_tokens" in named:  # those with names; the others are special to the library alone, as Gemma's
        del named["additional_special_tokens"]
    return transformers().PreTrainedTokenizerFast(tokenizer_object=tok, clean_up_tokenization_spaces=False, **named)


def _processor(name: str) -> type[Any]:
    """A processor that takes any tokenizer, and needs no part for videos, which would need torchvision."""
    base: Any = getattr(transformers(), name)

    def check(self: Any, argument: str, value: Any) -> Any:
        unchecked = argument in ("tokenizer", "video_processor")
        return None if unchecked else base.check_argument_for_proper_class(self, argument, value)

    return type(name, (base,), {"check_argument_for_proper_class": check})


def _image_processor(name: str, **options: Any) -> Any:
    """That of Pillow where there are several: torchvision is not needed."""
    library = transformers()
    return getattr(library, f"{name}Pil", getattr(library, name))(**options)


TEXT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 4096,
}  # fmt: skip
SIGLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "patch_size": 14,
}  # fmt: skip
QWEN_VISION = {"hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}


def paligemma() -> tuple[Any, Any]:
    t = transformers()
    tok = spaced(
        ["<pad>", "<eos>", "<bos>"], prefix=False, bos=False, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    images = _image_processor("SiglipImageProcessor", size={"height": 28, "width": 28})
    images.image_seq_length = 4
    processor = _processor("PaliGemmaProcessor")(image_processor=images, tokenizer=tok)
    config = t.PaliGemmaConfig(
        vision_config=SIGLIP | {"model_type": "siglip_vision_model", "image_size": 28, "projection_dim": 16},
        text_config=TEXT | {"model_type": "gemma", "vocab_size": len(tok), "pad_token_id": tok.pad_token_id},
        image_token_index=processor.image_token_id, projection_dim=16, hidden_size=16,
    )  # fmt: skip
    return processor, t.PaliGemmaForConditionalGeneration(config)


QWEN = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip


def _qwen_ids(tok: Any) -> dict[str, int]:
    names = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    return {name: tok.convert_tokens_to_ids(QWEN[n]) for name, n in names.items()}


def qwen2_5_vl() -> tuple[Any, Any]:
    t = transformers()
    tok = byte_level(QWEN, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left")
    images = _image_processor("Qwen2VLImageProcessor", min_pixels=28 * 28, max_pixels=84 * 84)
    processor = _processor("Qwen2_5_VLProcessor")(images, tok, None, chat_template=CHATML)
    config = t.Qwen2_5_VLConfig(
        vision_config=QWEN_VISION | {"depth": 1, "fullatt_block_indexes": [0]},
        text_config=TEXT | ROPE | {"vocab_size": len(tok)},
        **_qwen_ids(tok),
    )  # fmt: skip
    return processor, t.Qwen2_5_VLForConditionalGeneration(config)


def qwen3_vl() -> tuple[Any, Any]:
    t = transformers()
    tok = byte_level(QWEN, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    images = _image_processor("Qwen2VLImageProcessor", min_pixels=32 * 32, max_pixels=96 * 96, patch_size=16)
    processor = _processor("Qwen3VLProcessor")(images, tok, None, chat_template=CHATML)
    config = t.Qwen3VLConfig(
        vision_config=QWEN_VISION | {"depth": 2, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        text_config=TEXT | ROPE | {"vocab_size": len(tok)},
        **_qwen_ids(tok),
    )  # fmt: skip
    return processor, t.Qwen3VLForConditionalGeneration(config)


def llava() -> tuple[Any, Any]:
    t = transformers()
    tok = spaced(
        ["<s>", "</s>", "<pad>", "<image>"], prefix=True, bos=True, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    size = {"shortest_edge": 28}
    images = _image_processor("CLIPImageProcessor", size=size, crop_size={"height": 28, "width": 28})
    processor = t.LlavaProcessor(
        images, tok, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=VICUNA,
    )  # fmt: skip
    config = t.LlavaConfig(
        vision_config=SIGLIP | {"model_type": "clip_vision_model", "image_size": 28, "num_hidden_layers": 2},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(tok)},
        image_token_index=processor.image_token_id,
    )  # fmt: skip
    return processor, t.LlavaForConditionalGeneration(config)


IDEFICS_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
    "<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)),
]  # fmt: skip


def idefics3() -> tuple[Any, Any]:
    t = transformers()
    tok = byte_level(
        IDEFICS_TOKENS, bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<|endoftext|>"
    )
    images = _image_processor("Idefics3ImageProcessor", size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    processor = t.Idefics3Processor(images, tok, image_seq_len=4, chat_template=IDEFICS)
    config = t.Idefics3Config(
        vision_config=SIGLIP | {"image_size": 56},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(tok), "pad_token_id": tok.pad_token_id},
        image_token_id=processor.image_token_id, scale_factor=2, pad_token_id=tok.pad_token_id,
    )  # fmt: skip
    return processor, t.Idefics3ForConditionalGeneration(config)


def smolvlm() -> tuple[Any, Any]:
    t = transformers()
    module = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
    module.num2words = module.num2words or str  # that of videos: its processor asks for the library at once
    images = _image_processor("SmolVLMImageProcessor", size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    own, model = idefics3()
    processor = _processor("SmolVLMProcessor")(images, own.tokenizer, None, image_seq_len=4, chat_template=IDEFICS)
    processor.video_processor = SimpleNamespace(num_frames=1, fps=1)
    config = t.SmolVLMConfig(**{k: v for k, v in model.config.to_dict().items() if k != "model_type"})
    return processor, t.SmolVLMForConditionalGeneration(config)


GEMMA_TOKENS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}


def gemma3() -> tuple[Any, Any]:
    t = transformers()
    ends = ["<start_of_turn>", "<end_of_turn>"]
    tok = spaced(
        ["<pad>", "<eos>", "<bos>", *GEMMA_TOKENS.values(), *ends], prefix=False, bos=True,
        pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", extra_special_tokens=GEMMA_TOKENS,
    )  # fmt: skip
    images = _image_processor("Gemma3ImageProcessor", size={"height": 28, "width": 28})
    processor = _processor("Gemma3Processor")(images, tok, image_seq_length=4, chat_template=GEMMA)
    config = t.Gemma3Config(
        vision_config=SIGLIP | {"model_type": "siglip_vision_model", "image_size": 28},
        text_config=TEXT | {"vocab_size": len(tok), "pad_token_id": tok.pad_token_id, "sliding_window": 512},
        mm_tokens_per_image=4, image_token_index=tok.image_token_id, boi_token_index=tok.boi_token_id,
        eoi_token_index=tok.eoi_token_id,
    )  # fmt: skip
    model = t.Gemma3ForConditionalGeneration(config)
    import torch

    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # which begins as zeros
    return processor, model


FAMILIES = {
    "paligemma": paligemma, "qwen2_5_vl": qwen2_5_vl, "qwen3_vl": qwen3_vl, "llava": llava, "idefics3": idefics3,
    "smolvlm": smolvlm, "gemma3": gemma3,
}  # fmt: skip


@functools.cache
def family(name: str) -> tuple[Any, Any]:
    """A processor and a model; the same ones every time, not to be changed. The test skips without the libraries."""
    transformers()
    import torch

    torch.manual_seed(0)
    return FAMILIES[name]()
