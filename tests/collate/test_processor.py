"""Batches of vision-language models: every token and every label against a second implementation, forward, backward."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from support import scalar_labels, small_corpora, tiny_models
from support.built_mixture import Built

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from rt2data import ActionTokenizer  # noqa: E402
from rt2data.collate import for_processor  # noqa: E402
from rt2data.errors import Rt2dataError  # noqa: E402
from rt2data.loader import Loader  # noqa: E402

CHAT = ("qwen2_5_vl", "qwen3_vl", "llava", "idefics3", "smolvlm", "gemma3")
ALL = ("paligemma", *CHAT)
SIZE = (16, 12)  # of the pictures of small_corpora


@dataclass
class Made:
    """A sample that no mixture holds."""

    json: dict[str, Any]
    members: dict[str, bytes]

    @cached_property
    def key(self) -> str:
        return str(self.json["key"])


def asked(prompt: str, target: str, images: int = 1, **more: Any) -> Made:
    members = {f"i{n}.jpg": small_corpora.picture(n) for n in range(images)}
    said = {"key": "made", "kind": "vqa", "source": "x", "prompt": prompt, "target": target, "images": list(members)}
    return Made(said | {"plan": None} | more, members)


def spoke(*turns: tuple[Any, ...], images: int = 0) -> Made:
    """A conversation: role, text (or parts), spans, end."""
    messages = []
    for role, text, spans, end in turns:
        content = [{"type": "text", "text": text}] if isinstance(text, str) else text
        own = [{"start": a, "end": b, "loss": loss} for a, b, loss in spans]
        messages.append({"role": role, "content": content, "loss": "text", "end": end, "spans": own})
    return Made(asked("", "", images).json | {"messages": messages}, asked("", "", images).members)


@pytest.fixture(scope="module")
def plain(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture without kinds, with a camera's history, built in this process."""
    from rt2data.pipeline import build as flow

    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "Engine", small_corpora.in_process())
        recipe = small_corpora.write_recipe(folder / "r.yaml", history=2)
        flow.build(recipe, folder / "out", data_root=corpora, progress=False)
    return folder / "out"


@pytest.fixture(scope="module")
def various(plain: Path, spoken: Built) -> list[Any]:
    """Samples of each kind of both mixtures, and some without images."""
    out: dict[Any, list[Any]] = {}
    for path in (plain, spoken.out):
        for sample in Loader(path):
            kind = (path, sample.json["kind"], sample.json.get("recipe_kind"))
            out.setdefault(kind, []).append(sample)
    assert len(out) == 3 + 7
    text = [asked("Is 2 even?", "yes", images=0), asked("名前は? 🙂", " naïve \n café 🙂", images=0)]
    return [*(sample for of_kind in out.values() for sample in of_kind[:4]), *text]


@pytest.mark.parametrize("family", ALL)
def test_every_token_and_label(family: str, various: list[Any]) -> None:
    processor, _ = tiny_models.family(family)
    collate = for_processor(processor)
    learned = 0
    for sample in various:
        ids, labels = scalar_labels.reference(family, processor, sample, SIZE)
        encoded = collate.encode(sample)
        assert encoded.tokens["input_ids"].tolist() == ids, sample.json
        assert encoded.tokens["labels"].tolist() == labels, sample.json
        learned += sum(label >= 0 for label in labels)
    assert learned > 250


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("side", ["left", "right"])
def test_forward_and_backward(family: str, side: Any, various: list[Any]) -> None:
    """The loss of a batch is that of its samples one by one, whatever pads them, and it reaches every part."""
    processor, model = tiny_models.family(family)
    model.zero_grad()
    collate = for_processor(processor, padding_side=side, pad_to_multiple_of=8)
    samples = [*various[:-2:6], various[-1]]
    assert {bool(s.members.keys() - {"json"}) for s in samples} == {True, False}
    batch = collate(samples)
    assert batch["input_ids"].shape == batch["labels"].shape
    assert batch["input_ids"].shape[1] % 8 == 0
    out = model(**batch)
    count = sum_ = 0.0
    for sample in samples:
        one = collate([sample])
        n = int((one["labels"][:, 1:] != -100).sum())
        if n:
            sum_ += n * float(model(**one).loss)
            count += n
    assert float(out.loss) == pytest.approx(sum_ / count, rel=1e-4)
    out.loss.backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in still if "vision" not in name and "visual" not in name], still
    assert any(weight.grad is not None and weight.grad.any() for n, weight in model.named_parameters() if "vis" in n)


@pytest.mark.parametrize("family", ALL)
def test_a_batch_without_images(family: str) -> None:
    processor, model = tiny_models.family(family)
    batch = for_processor(processor)([asked("Is 2 even?", "yes", 0), asked("Is 3?", "no, it is odd", 0)])
    assert "pixel_values" not in batch
    assert float(model(**batch).loss) > 0


@pytest.mark.parametrize("family", ["paligemma", "llava", "idefics3"])
def test_images_in_the_order_of_the_recipe(family: str, plain: Path) -> None:
    """Each camera's image and its history, as `images` lists them."""
    from io import BytesIO

    from PIL import Image

    processor, _ = tiny_models.family(family)
    sample = next(s for s in Loader(plain) if s.json["kind"] == "robot" and s.json["step"] > 1)
    assert sample.json["images"] == ["jpg", "secondary.jpg", "primary.h1.jpg", "secondary.h1.jpg"]
    pixels = for_processor(processor).encode(sample).images["pixel_values"]
    pixels = pixels.reshape(4, -1)
    for number, name in enumerate(sample.json["images"]):
        image = Image.open(BytesIO(sample.members[name])).convert("RGB")
        alone = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        assert torch.equal(pixels[number], alone.reshape(-1))


def test_a_batch_is_as_the_processor_pads_it(various: list[Any]) -> None:
    """What a processor makes of several conversations at once."""
    processor, _ = tiny_models.family("idefics3")
    samples = [asked("One?", "a", 1), asked("Three of them?", "b c", 3)]
    ours = for_processor(processor, padding_side="right")(samples)
    texts = [
        f"<|im_start|>User:{'<image>' * len(s.members)}{s.json['prompt']}<end_of_utterance>\n"
        f"Assistant:{s.json['target']}<end_of_utterance>\n"
        for s in samples
    ]
    from io import BytesIO

    from PIL import Image

    images = [[Image.open(BytesIO(data)).convert("RGB") for data in s.members.values()] for s in samples]
    theirs = processor(
        text=texts, images=images, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt"
    )
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


def test_parts_of_a_turn_and_ends() -> None:
    """Spans inside of a text, turns in a row, an end that is not learned, a word that the template writes as well."""
    processor, _ = tiny_models.family("qwen2_5_vl")
    image, last = {"type": "image", "image": "i0.jpg"}, {"type": "text", "text": "assistant"}
    sample = spoke(
        ("system", "assistant", [], False),
        ("user", [{"type": "text", "text": "user user"}, image, last], [(5, 12, "text")], False),
        ("assistant", "assistant\nuser", [(10, 14, "text")], True),
        ("assistant", "system", [(0, 6, "text")], False),
        images=1,
    )  # fmt: skip
    encoded = for_processor(processor).encode(sample)
    ids, labels = scalar_labels.reference("qwen2_5_vl", processor, sample, SIZE)
    assert encoded.tokens["input_ids"].tolist() == ids
    assert encoded.tokens["labels"].tolist() == labels
    kept = encoded.tokens["labels"]
    assert processor.tokenizer.decode(kept[kept >= 0]).count("<|im_end|>") == 1


WORDS = [
    "user", "assistant", "system", "\n", " ", "  ", "USER:", "ASSISTANT:", "model", "1 2 3", "é", "🙂", "名前",
    "Assistant:", "\n\n", "<row>", "a", "b.", "\t", "{{ x }}", "x\u00a0y", "\u3000", "e\u0301",
]  # fmt: skip


def conversation(seed: int) -> Made:
    """Turns of texts that read like a template's own words, with images between them, learned in part."""
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choice(WORDS) for _ in range(draw.randint(1, 6)))

    turns: list[tuple[Any, ...]] = [("system", text(), [], False)] if draw.random() < 0.3 else []
    images = 0
    for _ in range(draw.randint(1, 3)):
        parts: list[dict[str, str]] = []
        for _ in range(draw.randint(1, 3)):
            shows = draw.random() < 0.4
            parts.append({"type": "image", "image": f"i{images}.jpg"} if shows else {"type": "text", "text": text()})
            images += shows
        answer = text()
        start, end = sorted(draw.randint(0, len(answer)) for _ in range(2))
        learned = [(start, end, "text")] if start < end else []
        turns += [("user", parts, [], False), ("assistant", answer, learned, draw.random() < 0.7)]
    return spoke(*turns, images=images)


@pytest.mark.parametrize("family", ALL)
def test_any_conversation(family: str) -> None:
    processor, _ = tiny_models.family(family)
    collate = for_processor(processor)
    for seed in range(60):
        sample = conversation(seed)
        ids, labels = scalar_labels.reference(family, processor, sample, SIZE)
        tokens = collate.encode(sample).tokens
        assert (tokens["input_ids"].tolist(), tokens["labels"].tolist()) == (ids, labels), (seed, sample.json)


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({"spec": "openvla"}, ALL),  # an id at the end of the vocabulary for each bin
        ({"spec": "fast-bpe", "horizon": 4}, ("paligemma", "qwen2_5_vl")),  # as many ids as the merges leave
    ],
)
def test_action_ids(
    spec: dict[str, Any], families: tuple[str, ...], tmp_path: Path, corpora: Path, build: Callable[..., Any]
) -> None:
    """Ids take the place of the action's text, and nothing else changes."""
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", tokenizer=spec)
    build(recipe, tmp_path / "out", data_root=corpora)
    actions = ActionTokenizer.from_pretrained(tmp_path / "out")
    for family in families:
        processor, model = tiny_models.family(family)
        collate = for_processor(processor, action_tokenizer=tmp_path / "out")
        as_text = for_processor(processor)
        samples = list(Loader(tmp_path / "out"))[:12]
        assert {s.json["kind"] for s in samples} == {"robot", "vqa", "caption"}
        for sample in samples:
            one, other = collate.encode(sample).tokens, as_text.encode(sample).tokens
            if sample.json["kind"] != "robot":
                assert torch.equal(one["input_ids"], other["input_ids"])
                continue
            bound = actions.with_vocabulary(processor.tokenizer).for_source("bridge_dataset")
            ids = bound.token_ids(sample.json["bins"]).tolist()
            found = one["input_ids"].tolist()
            at = next(n for n in range(len(found)) if found[n : n + len(ids)] == ids)
            assert one["labels"][at : at + len(ids)].tolist() == ids
            kept = one["labels"][one["labels"] >= 0].tolist()
            assert (kept[:-1], len(kept)) == (ids, len(ids) + 1)
            begin = int((other["labels"] >= 0).nonzero()[0])
            assert found[: min(at, begin)] == other["input_ids"][: min(at, begin)].tolist()
            assert bound.from_token_ids(found[at : at + len(ids)]).tolist() == sample.json["bins"]
            assert len({len(value) for value in one.values()}) == 1
        assert float(model(**collate(samples)).loss) > 0


def test_actions_inside_of_an_answer(spoken: Built) -> None:
    """A kind's `Go. {action} Done.`: words before and behind the ids."""
    processor, _ = tiny_models.family("qwen2_5_vl")
    own = ActionTokenizer.from_pretrained(spoken.out)
    sample = next(s for s in Loader(spoken.out) if s.json.get("recipe_kind") == "act")
    placed = ActionTokenizer.from_dict(own.to_dict() | {"vocabulary": {"place": "tail", "skip": 3}})
    sample.json["tokenizer"] = placed.for_source("bridge_dataset").fingerprint
    one = for_processor(processor, action_tokenizer=placed).encode(sample)
    kept = one.tokens["labels"][one.tokens["labels"] >= 0].tolist()
    size = processor.tokenizer.vocab_size
    ids = [size - 4 - n for n in sample.json["bins"]]
    at = kept.index(ids[0])
    assert kept[at : at + len(ids)] == ids
    decode = processor.tokenizer.decode
    assert (decode(kept[:at]), decode(kept[at + len(ids) :])) == ("Go. ", " Done.<|im_end|>")
    sample.json["tokenizer"] = "another"
    with pytest.raises(Rt2dataError, match="another"):
        for_processor(processor, action_tokenizer=placed).encode(sample)


def test_too_long_says_how_many(various: list[Any]) -> None:
    processor, _ = tiny_models.family("qwen2_5_vl")
    samples = [asked("Is 2 even?", "yes"), asked("Is 2 even?", "yes " * 300), asked("Is 2 even?", "no " * 400)]
    with pytest.raises(Rt2dataError, match=r"2 of 3 samples have more than 200 tokens, made \d+"):
        for_processor(processor, max_length=200)(samples)
    batch = for_processor(processor, max_length=200, padding="max_length")(samples[:1])
    assert batch["input_ids"].shape == (1, 200)


@pytest.mark.parametrize(
    ("family", "sample", "said"),
    [
        ("llava", asked("Where is <image>?", "here"), "text with the model's token <image>"),
        ("paligemma", asked("Where is <image>?", "here"), "text with the model's token <image>"),
        ("qwen2_5_vl", asked("Where?", "<|video_pad|>"), r"token <\|video_pad\|>"),
    ],
)  # fmt: skip
def test_text_that_reads_as_an_image(family: str, sample: Made, said: str) -> None:
    processor, _ = tiny_models.family(family)
    with pytest.raises(Rt2dataError, match=said):
        for_processor(processor)([sample])


def test_what_a_processor_lacks() -> None:
    processor, _ = tiny_models.family("llava")
    import copy

    other = copy.copy(processor)
    other.chat_template = None
    with pytest.raises(Rt2dataError, match="without a chat template"):
        for_processor(other)
    assert for_processor(other, chat_template=tiny_models.VICUNA)([asked("A?", "b")])
    other.tokenizer = tiny_models.byte_level(["<|e|>", "<image>"], eos_token="<|e|>")
    with pytest.raises(Rt2dataError, match="padding token"):
        for_processor(other, chat_template=tiny_models.VICUNA)


def test_a_template_that_changes_texts() -> None:
    processor, _ = tiny_models.family("llava")
    loud = tiny_models.VICUNA.replace("{{ c.text }}", "{{ c.text | upper }}")
    with pytest.raises(Rt2dataError, match="writes a text otherwise"):
        for_processor(processor, chat_template=loud)([asked("A?", "b")])
    refuses = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Rt2dataError, match="refuses turns of user, assistant: roles must alternate"):
        for_processor(processor, chat_template=refuses)([asked("A?", "b")])


def test_what_cannot_be_asked_for() -> None:
    processor, _ = tiny_models.family("llava")
    for options in ({"padding": "max_length"}, {"padding": "no"}, {"padding_side": "middle"}):
        with pytest.raises(Rt2dataError, match="padding"):
            for_processor(processor, **options)  # type: ignore[arg-type]
    with pytest.raises(Rt2dataError, match="no samples"):
        for_processor(processor)([])


def test_it_can_be_pickled(plain: Path) -> None:
    processor, _ = tiny_models.family("llava")
    collate = for_processor(processor)
    sample = Loader(plain)[0]
    again = pickle.loads(pickle.dumps(collate))
    assert torch.equal(again([sample])["input_ids"], collate([sample])["input_ids"])
