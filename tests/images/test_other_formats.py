"""Pictures that samples hold only encoded anew, modes of pixels, and JPEGs whose scans end early."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.ImageFile
import pytest
from PIL import Image
from support import small_corpora
from support.web_corpus import declared, write

from rt2data import cli
from rt2data.images import codec, headers, jpeg_scans
from rt2data.images.codec import ImageError, ImageSpec

Build = Callable[..., dict[str, Any]]

RED, BLUE = (200, 60, 20), (20, 60, 200)
PIXELS = np.full((40, 60, 3), RED, np.uint8)
PIXELS[:, 30:] = BLUE
RGB = Image.fromarray(PIXELS)
CLEAR = Image.fromarray(np.dstack([PIXELS, np.where(np.arange(60) < 30, 255, 0)[None].repeat(40, 0).astype(np.uint8)]))
GRADIENT = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(40, 0)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixels(data: bytes, **spec: Any) -> np.ndarray[Any, Any]:
    return np.asarray(codec.decode(codec.reencode(data, ImageSpec("png", **spec))))


def ends(data: bytes) -> list[list[int]]:
    """The colour of a pixel on the left and of one on the right."""
    found = pixels(data).astype(int)
    return [found[20, 5].tolist(), found[20, 55].tolist()]


OTHERS = {
    "gif": encode(RGB, "GIF"),
    "gif grey": encode(RGB.convert("L"), "GIF"),
    "bmp": encode(RGB, "BMP"),
    "bmp palette": encode(RGB.quantize(8), "BMP"),
    "tiff": encode(RGB, "TIFF"),
    "tiff lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "tiff 16 bit": encode(Image.fromarray(GRADIENT), "TIFF"),
    "tiff 1 bit": encode(RGB.convert("1"), "TIFF"),
    "tiff cmyk": encode(RGB.convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_read_to_be_encoded_anew(name: str) -> None:
    data, form = OTHERS[name], name.partition(" ")[0]
    with pytest.raises(ImageError, match=r"other_format: .*image: \{format: jpg\}"):
        codec.check_header(data)
    assert codec.inspect(data) == ((form, 60, 40), "other_format")
    checks = headers.check_images(np.frombuffer(data, np.uint8), [0], [len(data)])
    found = codec.READ_FORMATS[checks.format[0]], codec.REASONS[checks.state[0]], checks.width[0], checks.height[0]
    assert found == (form, "other_format", 60, 40)
    assert pixels(data).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="other_format"):
        codec.reencode(data, ImageSpec())  # into which format, nobody says


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff", "tiff lzw", "tiff cmyk"])
def test_other_formats_keep_their_colours(name: str) -> None:
    assert np.abs(np.array(ends(OTHERS[name])) - [RED, BLUE]).max() <= 3


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_several_pictures_in_one_file(form: str) -> None:
    data = encode(RGB, form, save_all=True, append_images=[RGB.rotate(180)])
    with pytest.raises(ImageError, match="several_frames"):
        codec.inspect(data)


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff", "tiff lzw"])
def test_other_formats_that_are_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries may set it
    for size in (10, 40, len(OTHERS[name]) // 2):
        with pytest.raises(ImageError, match="damaged_image"):
            codec.inspect(OTHERS[name][:size])
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_range(mode: str) -> None:
    with pytest.raises(ImageError, match=f"unknown_format: pixels of mode {mode}, whose range nothing states"):
        codec.inspect(encode(Image.new(mode, (8, 8), 3), "TIFF"))


def test_sixteen_bits_are_scaled() -> None:
    found = pixels(encode(Image.fromarray(GRADIENT), "PNG"))
    np.testing.assert_array_equal(found, (GRADIENT >> 8).astype(np.uint8)[..., None].repeat(3, 2))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_on_the_ground(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert ends(encode(CLEAR, form, **options)) == [list(RED), list(codec.GROUND)]


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_other_transparent_modes(mode: str) -> None:
    image = CLEAR.convert("LA") if mode == "LA" else CLEAR.quantize(8)
    left, right = ends(encode(image, "PNG"))
    assert right == list(codec.GROUND)
    assert left != right


def test_a_clear_colour_without_alpha() -> None:
    assert ends(encode(RGB, "PNG", transparency=BLUE)) == [list(RED), list(codec.GROUND)]
    grey = Image.fromarray(GRADIENT)
    assert pixels(encode(grey, "PNG", transparency=int(GRADIENT[0, 5])))[20, 5].tolist() == list(codec.GROUND)


def test_the_ink_of_adobe_is_not_inverted() -> None:
    assert np.abs(np.array(ends(encode(RGB.convert("CMYK"), "JPEG", quality=95))) - [RED, BLUE]).max() <= 12


NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8))
JPEGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 3},
    "full colour": {"subsampling": 0},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", JPEGS)
def test_complete_jpegs(name: str, mode: str) -> None:
    data = encode(NOISE.convert(mode), "JPEG", **JPEGS[name])
    for whole in (data, data[:-2] + bytes(9) + data[-2:], data[:-2] + b"\xff\xff" + data[-2:], data + bytes(40)):
        codec.check_pixels(whole)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("lost", [2, 5, 20, 200, 1000])
def test_jpegs_that_end_early_with_an_end_marker(name: str, mode: str, lost: int) -> None:
    data = encode(NOISE.convert(mode), "JPEG", **JPEGS[name])
    cut = data[: -2 - lost].rstrip(b"\xff") + b"\xff\xd9"
    assert codec.check_header(cut)
    assert codec.decode(cut).size == NOISE.size  # which nobody complains of
    with pytest.raises(ImageError, match="truncated_image"):
        codec.check_pixels(cut)


def test_a_jpeg_that_lacks_a_whole_scan() -> None:
    data = encode(NOISE, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    last = data.rindex(b"\xff\xc4", 0, last) if b"\xff\xc4" in data[:last] else last
    assert jpeg_scans.lacks_scans(data[:last] + b"\xff\xd9")
    assert not jpeg_scans.lacks_scans(data)


def test_real_jpegs_are_complete(shared_data: Path) -> None:
    files = [*shared_data.glob("captions/coco2017/**/*.jpg"), *shared_data.glob("vqa/**/*.jpg")][:40]
    assert files
    for file in files:
        codec.check_pixels(file.read_bytes())


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A corpus of pictures of many kinds, one of them animated and one a JPEG that ends early."""
    early = encode(NOISE, "JPEG")[:-600].rstrip(b"\xff") + b"\xff\xd9"
    animated = encode(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)])
    deep = encode(Image.fromarray(GRADIENT), "PNG")
    floats = encode(Image.new("F", (8, 8)), "TIFF")
    every = {"jpg": encode(RGB, "JPEG"), "deep": deep, "early": early, "animated": animated, "float": floats} | OTHERS
    rows = [{"id": name, "image": f"{name}.img", "text": name} for name in every]
    write(tmp_path / "data" / "a.jsonl", b"\n".join(json.dumps(row).encode() for row in rows))
    for name, data in every.items():
        write(tmp_path / "data" / f"{name}.img", data)
    declared(
        tmp_path,
        format="jsonl",
        splits={"train": {"annotations": ["a.jsonl"]}},
        images=["{image}"],
        fields={"id": "id", "image": "image", "captions": "text"},
    )
    return tmp_path


def recipe(folder: Path, **changes: Any) -> Path:
    return small_corpora.write_recipe(
        folder / "r.yaml", sources=[{"source": "toy.yaml"}], splits=None, cameras=None, **changes
    )


def test_what_is_encoded_anew_may_be_of_any_format(mixed: Path, build: Build) -> None:
    chosen = recipe(mixed, image={"format": "jpg", "size": [16, 16]}, image_check="decode")
    (source,) = build(chosen, mixed / "out", data_root=mixed)["sources"]
    assert source["left_out"] == {"several_frames": 1, "truncated_image": 1, "unknown_format": 1}
    assert source["usable"] == {"train": 2 + len(OTHERS)}


def test_what_is_kept_may_not(mixed: Path, build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = recipe(mixed)
    (source,) = build(chosen, mixed / "out", data_root=mixed, work=mixed / "work")["sources"]
    assert source["left_out"] == {"several_frames": 1, "unknown_format": 1, "other_format": len(OTHERS)}
    assert source["usable"] == {"train": 3}
    assert cli.main(["plan", str(chosen), "--data-root", str(mixed), "--work", str(mixed / "work")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "other_format: GIF, BMP and TIFF are in samples only where they are encoded anew" in shown


def test_filters_by_pixels_look_at_other_formats(mixed: Path, build: Build) -> None:
    filters = {"brightness": {"min": 10}}
    chosen = small_corpora.write_recipe(
        mixed / "r.yaml",
        sources=[{"source": "toy.yaml", "filters": filters}],
        splits=None,
        cameras=None,
        image={"format": "png"},
    )
    (source,) = build(chosen, mixed / "out", data_root=mixed)["sources"]
    assert source["usable"] == {"train": 3 + len(OTHERS)}
