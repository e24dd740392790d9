"""The README's own commands and snippets, on the quickstart mixture that they speak of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import ROOT

from rt2data import build, load_manifest
from rt2data.demo import write_sample

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``out/quickstart`` in it, as ``make build-mixture`` leaves it: on Beam, with worker processes."""
    folder = tmp_path_factory.mktemp("readme")
    write_sample(folder / "out" / "sample")
    build("quickstart", folder / "out" / "quickstart", data_root=folder / "out" / "sample", progress=False)
    return folder


def test_the_first_result_takes_twelve_lines() -> None:
    shown = re.search(
        r"^## First result\n\n```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert shown
    assert len([line for line in shown[1].splitlines() if line]) <= 12


def test_the_quickstart_is_what_its_recipe_asks_for(quickstart: Path) -> None:
    found = load_manifest(quickstart / "out" / "quickstart")
    shares = {s["source"]: s["share_got"] for s in found["sources"]}
    assert shares == pytest.approx({"tabletop": 0.5, "tabletop_vqa": 0.3, "tabletop_captions": 0.2}, abs=1e-3)
    assert found["splits"]["val"]["samples"] > 100


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_serving_snippet(quickstart: Path, tmp_path: Path, elsewhere: bool) -> None:
    """From where the mixture was built, as it stands; from another folder with the full path."""
    code = BLOCKS[1]
    assert code.count('"out/quickstart"') == 1
    if elsewhere:
        code = code.replace('"out/quickstart"', repr(str(quickstart / "out" / "quickstart")))
    run = _run(code, tmp_path if elsewhere else quickstart)
    numbers, terminate = run.stdout.rsplit("]", 1)
    assert len(numbers.strip("[\n ").split()) == 7
    assert terminate.strip() == "False"


def test_the_training_snippet(quickstart: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    _tiny_processor(tmp_path / "model")
    code = BLOCKS[0].replace("google/paligemma2-3b-pt-224", str(tmp_path / "model"))
    assert code != BLOCKS[0]
    check = """
assert batch["pixel_values"].shape[0] == batch["input_ids"].shape[0] == 8
learned = batch["labels"] != -100
assert (batch["labels"][learned] == batch["input_ids"][learned]).all()
texts = [tokenizer.decode(row[keep]) for row, keep in zip(batch["labels"], learned)]
print(texts)
"""
    run = _run(code + check, quickstart)
    assert run.stdout.count("</s>") == 8


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stderr
    return run


def _tiny_processor(folder: Path) -> None:
    """A processor of a few words, trained on the spot: what a model's own would be."""
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    words.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<pad>", "</s>", "<image>"])
    words.train_from_iterator(["Q: what action should the robot take to pick up the cup? A: 1 128 91 241 5"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(image_processor=images, tokenizer=tokenizer, patch_size=16).save_pretrained(folder)
