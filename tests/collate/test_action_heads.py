"""Arrays for action heads, read back from a mixture."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import small_corpora

from rt2data.collate import as_gr00t, as_octo, as_openpi, for_action_head
from rt2data.errors import Rt2dataError
from rt2data.loader import Loader


@pytest.fixture(scope="module")
def samples(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Chunks of 4 steps, two frames of two cameras, normalised as openpi does, and captions."""
    from rt2data.pipeline import build as flow

    folder = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "Engine", small_corpora.in_process())
        changes = {"history": 2, "tokenizer": {"spec": "float-openpi", "horizon": 4}}
        recipe = small_corpora.write_recipe(folder / "r.yaml", **changes)
        flow.build(recipe, folder / "out", data_root=corpora, progress=False)
    return list(Loader(folder / "out"))


def picture(sample: Any, member: str) -> Any:
    return Image.open(BytesIO(sample.members[member])).convert("RGB")


def test_arrays(samples: list[Any]) -> None:
    collate = pickle.loads(pickle.dumps(for_action_head(["primary", "secondary"], image_size=(12, 16), frames=2)))
    batch = collate(samples)
    b = len(samples)
    assert {s.json["kind"] for s in samples} == {"robot", "vqa", "caption"}
    shapes = {name: batch[name].shape for name in ("action", "action_valid", "action_mask", "proprio", "terminate")}
    assert shapes == {
        "action": (b, 4, 7), "action_valid": (b, 4), "action_mask": (b, 4, 7), "proprio": (b, 7), "terminate": (b, 4),
    }  # fmt: skip
    padded = first = 0
    for row, sample in enumerate(samples):
        said = sample.json
        if said["kind"] != "robot":
            assert not any(batch[name][row].any() for name in ("action", "action_mask", "proprio_mask", "action_valid"))
            assert not any(batch["image_mask"][slot][row].any() for slot in ("primary", "secondary"))
            assert batch["instruction"][row] == said["prompt"]
            continue
        assert batch["action"][row].ravel().tolist() == np.float32(said["action_normalised"]).tolist()
        assert batch["action_valid"][row].tolist() == said["action_valid"]
        assert (batch["action_mask"][row] == np.array(said["action_valid"])[:, None]).all()
        assert batch["terminate"][row].tolist() == said["terminate"]
        assert batch["proprio"][row].tolist() == np.float32(said["proprio"]).tolist()
        members = {"primary": ("primary.h1.jpg", "jpg"), "secondary": ("secondary.h1.jpg", "secondary.jpg")}
        for slot, names in members.items():
            for frame, name in enumerate(names):
                assert (batch["images"][slot][row, frame] == np.asarray(picture(sample, name))).all()
                valid = said["image_valid"][said["images"].index(name)]
                assert batch["image_mask"][slot][row, frame] == valid
                first += not valid
        padded += not all(said["action_valid"])
    assert padded
    assert first


@pytest.mark.parametrize("size", [(8, 8), (24, 24), (30, 10), (7, 23)])
def test_sizes(samples: list[Any], size: tuple[int, int]) -> None:
    """openpi's arithmetic: the picture of 16 x 12 in the middle, black around; and stretched."""
    one = next(s for s in samples if s.json["kind"] == "robot")
    image = picture(one, "jpg")
    padded = for_action_head(["primary"], image_size=size)([one])["images"]["primary"][0, 0]
    stretched = for_action_head(["primary"], image_size=size, fit="stretch")([one])["images"]["primary"][0, 0]
    assert (stretched == np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))).all()
    ratio = max(16 / size[1], 12 / size[0])
    high, wide = int(12 / ratio), int(16 / ratio)
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    inner = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))
    assert (padded[top : top + high, left : left + wide] == inner).all()
    assert padded.sum() == inner.sum()


def test_slots_and_widths(samples: list[Any]) -> None:
    robot = next(s for s in samples if s.json["kind"] == "robot")
    web = next(s for s in samples if s.json["kind"] == "caption")
    slots = {"base_0_rgb": ["primary", "image"], "left_wrist_0_rgb": "wrist"}
    collate = for_action_head(slots, action_width=32, proprio_width=8, image_size=(28, 28))
    batch = collate([robot, web])
    assert batch["image_mask"]["base_0_rgb"].tolist() == [[True], [True]]
    assert batch["image_mask"]["left_wrist_0_rgb"].tolist() == [[False], [False]]
    assert not batch["images"]["left_wrist_0_rgb"].any()
    assert batch["action_mask"].any(axis=(0, 1)).tolist() == [True] * 7 + [False] * 25
    assert not batch["action"][..., 7:].any()
    assert batch["proprio_mask"].tolist() == [[True] * 7 + [False], [False] * 8]
    with pytest.raises(Rt2dataError, match="action_width: 6; a sample has 7 numbers"):
        for_action_head(slots, action_width=6)([robot])
    with pytest.raises(Rt2dataError, match="fit 'crop'"):
        for_action_head(slots, fit="crop")  # type: ignore[arg-type]


def test_other_names(samples: list[Any]) -> None:
    robot = [s for s in samples if s.json["kind"] == "robot"][:3]
    batch = for_action_head(["primary", "secondary"], image_size=(28, 28), frames=2)(robot)
    pi = as_openpi(batch)
    assert pi["image"]["primary"].shape == (3, 28, 28, 3)
    assert pi["image_mask"]["primary"].tolist() == [True] * 3
    assert (pi["state"] == batch["proprio"]).all()
    assert pi["prompt"] == [s.json["instruction"] for s in robot]
    octo = as_octo(batch)
    assert octo["action"].shape == octo["action_pad_mask"].shape == (3, 2, 4, 7)
    assert not octo["action_pad_mask"][:, 0].any()
    assert (octo["action"][:, 1] == batch["action"]).all()
    assert octo["observation"]["image_primary"].shape == (3, 2, 28, 28, 3)
    before = [s.json["image_valid"][s.json["images"].index("primary.h1.jpg")] for s in robot]
    assert octo["observation"]["timestep_pad_mask"].tolist() == [[one, True] for one in before]
    gr00t = as_gr00t(batch)
    assert gr00t["video"].shape == (3, 2, 2, 28, 28, 3)
    assert (gr00t["video"][:, :, 1] == batch["images"]["secondary"]).all()
    assert gr00t["state"].shape == (3, 1, 7)
    assert gr00t["has_real_action"].tolist() == [True] * 3


def test_actions_as_they_are(corpora: Path, tmp_path: Path, build: Callable[..., Any]) -> None:
    """A mixture of bins has actions in units."""
    build(small_corpora.write_recipe(tmp_path / "r.yaml"), tmp_path / "out", data_root=corpora)
    one = next(s for s in Loader(tmp_path / "out") if s.json["kind"] == "robot")
    batch = for_action_head([])([one])
    assert batch["action"][0, 0].tolist() == np.float32(one.json["action"]).tolist()


def test_a_broken_image(samples: list[Any]) -> None:
    one = next(s for s in samples if s.json["kind"] == "robot")

    class Broken:
        key, json, members = one.key, one.json, dict.fromkeys(one.members, b"no image")

    with pytest.raises(Rt2dataError, match=r"the image jpg does not decode"):
        for_action_head(["primary"])([Broken])  # type: ignore[list-item]


def test_sixteen_bits(samples: list[Any]) -> None:
    """The upper eight count: Pillow's own conversion would make all of them white."""
    one = next(s for s in samples if s.json["kind"] == "caption")
    values = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    out = BytesIO()
    Image.fromarray(values).save(out, "PNG")

    class Deep:
        key, json, members = one.key, one.json, dict.fromkeys(one.members, out.getvalue())

    image = for_action_head(["image"], image_size=(4, 4))([Deep])["images"]["image"][0, 0]  # type: ignore[list-item]
    assert (image == (values >> 8)[..., None]).all()
