"""Images with an EXIF orientation: samples hold them upright, boxes turn with them, other bytes stay."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import damaged_mixtures, small_corpora
from support.shard_readers import by_tarfile
from support.web_corpus import declared, write, write_tar

from rt2data.errors import Rt2dataError
from rt2data.verify import verify

RED = (255, 0, 0)


def image(turn: int, kind: str = "JPEG") -> bytes:
    """80 x 40 pixels as they are stored, red at the right; `turn` is the EXIF orientation."""
    pixels = np.full((40, 80, 3), 200, np.uint8)
    pixels[:, 60:] = RED
    exif = Image.Exif()
    exif[0x0112] = turn
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(out, kind, exif=exif, **options)
    return out.getvalue()


def colour_in_box(sample: dict[str, bytes]) -> Any:
    """The mean colour in the box of a sample's target, as Pillow shows the image."""
    data = next(data for suffix, data in sample.items() if suffix != "json")
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    height, width = pixels.shape[:2]
    y0, x0, y1, x1 = (int(word) / 1000 for word in json.loads(sample["json"])["target"].split()[:4])
    inside = pixels[int(y0 * height) + 1 : int(y1 * height) - 1, int(x0 * width) + 1 : int(x1 * width) - 1]
    return inside.reshape(-1, 3).mean(0)


def is_red(colour: Any) -> bool:
    return bool(colour[0] > 240 and colour[1] < 60)


@pytest.mark.parametrize("shape", [{}, {"image": {"format": "png"}}], ids=["keep", "anew"])
def test_boxes_and_pixels_agree(tmp_path: Path, build: Callable[..., dict[str, Any]], shape: Any) -> None:
    stored, rows = [60, 0, 20, 40], []
    for turn in range(1, 9):
        write(tmp_path / "data" / f"{turn}.jpg", image(turn))
        rows.append({"id": f"stored {turn}", "image": f"{turn}.jpg", "box": stored, "label": "red"})
    # Two that were drawn in the upright image, and say so by its size: there red lies below, and above.
    for turn, box in ((6, [0, 60, 40, 20]), (8, [0, 0, 40, 20])):
        rows.append({"id": f"upright {turn}", "image": f"{turn}.jpg", "box": box, "label": "red", "w": 40, "h": 80})
    write(tmp_path / "data" / "train.json", rows)
    fields = {"id": "id", "image": "image", "boxes": "box", "label": "label", "width": "w", "height": "h"}
    path = declared(tmp_path, kind="vqa", fields=fields, boxes={"question": "Where?"}, images=["{image}"])
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": str(path)}], splits=None, cameras=None, **shape
    )
    build(recipe, tmp_path / "out", data_root=tmp_path, work=tmp_path / "work")
    samples = by_tarfile(tmp_path / "out", "train")
    assert len(samples) == 10
    for sample in samples.values():
        assert is_red(colour_in_box(sample)), json.loads(sample["json"])["example"]
        data = next(data for suffix, data in sample.items() if suffix != "json")
        if json.loads(sample["json"])["example"] == "stored 1" and not shape:
            assert data == image(1)
        elif not shape:
            assert 0x0112 not in Image.open(io.BytesIO(data)).getexif()
    assert verify(tmp_path / "out").ok
    (plan,) = (tmp_path / "work").rglob("plan.json")
    assert any(
        "EXIF orientation, and encoded anew: 9;" in warning for warning in json.loads(plan.read_bytes())["warnings"]
    )


def test_boxes_of_formats_that_are_only_encoded_anew(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    """GIF, BMP and TIFF; a TIFF has an orientation of its own, which Pillow applies while it decodes."""
    rows = [{"id": f"tiff {turn}", "image": f"{turn}.tif", "box": [60, 0, 20, 40]} for turn in range(1, 9)]
    rows += [{"id": kind, "image": f"1.{kind}", "box": [60, 0, 20, 40]} for kind in ("gif", "bmp")]
    rows.append({"id": "upright", "image": "6.tif", "box": [0, 60, 40, 20], "w": 40, "h": 80})
    rows.append({"id": "outside", "image": "1.gif", "box": [600, 0, 20, 40]})
    for name in {row["image"] for row in rows}:
        turn, kind = name.split(".")
        write(tmp_path / "data" / name, image(int(turn), {"tif": "TIFF"}.get(kind, kind.upper())))
    write(tmp_path / "data" / "train.json", rows)
    fields = {"id": "id", "image": "image", "boxes": "box", "width": "w", "height": "h"}
    path = declared(tmp_path, kind="vqa", fields=fields, boxes={"question": "Where?"}, images=["{image}"])
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": str(path)}], splits=None, cameras=None, image={"format": "png"}
    )
    manifest = build(recipe, tmp_path / "out", data_root=tmp_path)
    assert manifest["sources"][0]["left_out"] == {"box_outside": 1}
    samples = by_tarfile(tmp_path / "out", "train")
    assert len(samples) == 11
    for sample in samples.values():
        name = json.loads(sample["json"])["example"]
        assert is_red(colour_in_box(sample)), name
        high = name == "upright" or name[-1] in "5678"
        assert Image.open(io.BytesIO(sample["png"])).size == ((40, 80) if high else (80, 40)), name
    assert verify(tmp_path / "out").ok


def test_every_format_and_place_of_an_image_is_turned(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    """JPEG, PNG, WebP in a tar, staged and not; PNG and lossless WebP lose nothing. Filters see the upright size."""
    members = []
    for turn in (1, 6):
        for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
            members += [(f"{suffix}{turn}.{suffix}", image(turn, kind)), (f"{suffix}{turn}.txt", b"A strip.")]
    write_tar(tmp_path / "data" / "0.tar", members)
    fields = {"id": "$key", "image": "image", "captions": "txt"}
    path = declared(tmp_path, format="webdataset", fields=fields, splits={"train": {"annotations": ["*.tar"]}})
    found = {}
    for staged in ("no", "yes"):
        recipe = small_corpora.write_recipe(
            tmp_path / "r.yaml",
            sources=[{"source": str(path), "filters": {"contrast": {"min": 50}}}],
            splits=None,
            cameras=None,
        )
        build(recipe, tmp_path / staged, data_root=tmp_path, work=tmp_path / f"w-{staged}", staged=staged)
        found[staged] = small_corpora.tree(tmp_path / staged)
    assert found["no"] == found["yes"]
    upright = np.rot90(np.asarray(Image.open(io.BytesIO(image(1, "PNG")))), -1)
    for sample in by_tarfile(tmp_path / "no", "train").values():
        name = json.loads(sample["json"])["example"]
        suffix, data = next((suffix, data) for suffix, data in sample.items() if suffix != "json")
        assert Image.open(io.BytesIO(data)).size == ((40, 80) if name.endswith("6") else (80, 40))
        if name.endswith("6") and suffix != "jpg":
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), upright)
    assert verify(tmp_path / "no").ok
    high = small_corpora.write_recipe(
        tmp_path / "r.yaml",
        sources=[{"source": str(path), "filters": {"height": {"min": 60}}}],
        splits=None,
        cameras=None,
    )
    manifest = build(high, tmp_path / "high", data_root=tmp_path)
    assert manifest["sources"][0]["left_out"] == {"filter:height": 3}
    assert verify(tmp_path / "high").ok


def test_verify_tells_of_an_image_that_is_not_upright(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    write(tmp_path / "data" / "1.jpg", image(6))
    write(tmp_path / "data" / "train.json", [{"id": 1, "image": "1.jpg", "text": "A strip."}])
    path = declared(tmp_path, fields={"id": "id", "image": "image", "captions": "text"}, images=["{image}"])
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", sources=[{"source": str(path)}], splits=None, cameras=None)
    build(recipe, tmp_path / "out", data_root=tmp_path)
    name = damaged_mixtures.entry(tmp_path / "out")["name"]
    content = damaged_mixtures.members(tmp_path / "out" / name)
    damaged_mixtures.rewrite(
        tmp_path / "out", name, [(member, data if member.endswith("json") else image(6)) for member, data in content]
    )
    assert "images" in damaged_mixtures.failing(verify(tmp_path / "out"))


def test_boxes_in_another_unit_say_which_field_to_look_at(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    write(tmp_path / "data" / "1.jpg", image(1))
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": str(tmp_path / "toy.yaml")}], splits=None, cameras=None
    )
    fields = {"id": "id", "image": "image", "boxes": "box", "label": "label"}
    for box, message in (
        ([0.1, 0.1, 0.8, 0.9], "box_units.*boxes.unit"),
        ([100, 200, 700, 800], "box_outside.*boxes.unit"),
    ):
        write(tmp_path / "data" / "train.json", [{"id": 1, "image": "1.jpg", "box": box, "label": "red"}])
        declared(tmp_path, kind="vqa", fields=fields, boxes={"question": "Where?", "form": "xyxy"}, images=["{image}"])
        with pytest.raises(Rt2dataError, match=message):
            build(recipe, tmp_path / "out", data_root=tmp_path)
    declared(
        tmp_path, kind="vqa", fields=fields, images=["{image}"],
        boxes={"question": "Where?", "form": "xyxy", "unit": "thousandths"},
    )  # fmt: skip
    build(recipe, tmp_path / "out", data_root=tmp_path)
    (sample,) = by_tarfile(tmp_path / "out", "train").values()
    assert json.loads(sample["json"])["target"] == "200 100 800 700 red"
