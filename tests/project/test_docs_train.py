"""The Python of docs/train.md: snippets run from top to bottom, scripts run in two processes, on small mixtures and
with tiny models for published ones.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import page_scripts, s3_server, small_corpora, tiny_models
from support.built_mixture import Built
from support.repository import DOCS

from rt2data import Loader
from rt2data.collate import for_processor

PAGE = DOCS / "train.md"


@pytest.fixture
def folder(mixture: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mixture where the page has one."""
    (tmp_path / "out").mkdir()
    shutil.copytree(mixture.out, tmp_path / "out/quickstart")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("family", ["paligemma", "idefics3"])
def test_snippets(family: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tiny_models.transformers()
    processor, model = tiny_models.family(family)
    monkeypatch.setattr(library.AutoProcessor, "from_pretrained", lambda name: processor)
    monkeypatch.setattr(library.AutoModelForImageTextToText, "from_pretrained", lambda name: model)
    names: dict[str, Any] = {}
    found = [one for one in page_scripts.snippets(PAGE) if "launch" not in one.options]
    assert len(found) >= 9
    for one in found:
        if one.missing() or (family == "paligemma" and "collate.pack(" in one.code):
            continue
        exec(compile("\n" * one.line + one.code, "docs/train.md", "exec"), names)
    assert float(names["loss"]) > 0


# Scripts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny PaliGemma and its processor."""
    out = tmp_path_factory.mktemp("model")
    for part in tiny_models.family("paligemma"):
        part.save_pretrained(out)
    return out


def script(name: str, model: Path, **constants: Any) -> str:
    """A script of the page with a tiny model in place of a published one, and with other constants."""
    code = page_scripts.script(PAGE, name)
    code = code.replace('"google/paligemma2-3b-pt-224"', repr(str(model)))
    for constant, value in constants.items():
        code, count = re.subn(rf"^{constant} = .*$", f"{constant} = {value!r}".replace("\\", r"\\"), code, flags=re.M)
        assert count == 1, constant
    return page_scripts.NOTE_SAMPLES + code


def expected(loader: Loader, model: Path, epochs: int = 1) -> list[str]:
    """The tokens of each sample of epochs, in order."""
    collate = for_processor(tiny_models.transformers().AutoProcessor.from_pretrained(model))
    samples = [sample for _ in range(epochs) for sample in loader]
    return [" ".join(str(n) for n in collate.encode(sample).tokens["input_ids"].tolist()) for sample in samples]


def seen(folder: Path) -> list[list[str]]:
    """The tokens of each sample that each rank trained on since this was last asked, in order."""
    files = sorted(folder.glob("seen.*"))
    out = [file.read_text().splitlines() for file in files]
    for file in files:
        file.unlink()
    return out


def dealt(everything: list[str], ranks: int) -> list[list[str]]:
    return [everything[rank::ranks] for rank in range(ranks)]


def test_the_script_for_64_gpus(server: s3_server.Server, mixture: Built, model: Path, tmp_path: Path) -> None:
    """In two processes, then on in one: each sample once, over the end of an epoch."""
    url = server.upload(mixture.out, "mixture")
    code = page_scripts.NOTE_SAMPLES + page_scripts.script(PAGE, "train.py")
    assert len(page_scripts.script(PAGE, "train.py").splitlines()) <= 60
    small = {
        '"s3://robots/mixture"': repr(url), '"/local/cache"': repr(str(tmp_path / "cache")),
        '"google/paligemma2-3b-pt-224"': repr(str(model)), "= 8, 2, 100_000, 1_000 ": "= 4, 2, 4, 2 ",
        '"num_workers": 4': '"num_workers": 2',
    }  # fmt: skip
    for own, other in small.items():
        assert own in code
        code = code.replace(own, other)
    printed = page_scripts.run(code, tmp_path, "torchrun")
    assert re.findall(r"step (\d), epoch (\d), loss on val \d+\.", printed) == [("2", "0"), ("4", "0")]
    everything = expected(Loader(mixture.out), model, epochs=2)
    assert seen(tmp_path) == dealt(everything[:64], 2)
    again = page_scripts.run(code.replace("= 4, 2, 4, 2 ", "= 4, 2, 8, 2 "), tmp_path, "torchrun", 1)
    assert re.findall(r"step (\d), epoch (\d)", again) == [("6", "0"), ("8", "1")]
    assert seen(tmp_path) == [everything[64 : 64 + 30]]  # the last batch of the epoch has two


def test_fsdp(folder: Path, model: Path) -> None:
    page_scripts.run(script("fsdp.py", model), folder, "torchrun")
    assert seen(folder) == dealt(expected(Loader(folder / "out/quickstart"), model)[:24], 2)


def test_accelerate(folder: Path, model: Path) -> None:
    """`prepare` leaves the loader alone: each process has every second sample."""
    page_scripts.run(script("with_accelerate.py", model), folder, "accelerate")
    assert seen(folder) == dealt(expected(Loader(folder / "out/quickstart"), model), 2)
    assert list((folder / "state").glob("custom_checkpoint*"))


def test_trainer(folder: Path, model: Path) -> None:
    """Two processes stop after four updates, and one goes on with its eight: each sample once."""
    code = script("with_trainer.py", model).replace('"trained", max_steps=8', '"trained", max_steps=4')
    code = code.replace("per_device_train_batch_size", "per_device_train_batch_size")
    page_scripts.run(code, folder, "torchrun")
    everything = expected(Loader(folder / "out/quickstart"), model, epochs=2)
    assert seen(folder) == dealt(everything[:64], 2)
    page_scripts.run(script("with_trainer.py", model), folder, "torchrun", 1)
    assert seen(folder) == [everything[64 : 64 + 26 + 0]]


def test_jax(folder: Path) -> None:
    page_scripts.run(page_scripts.script(PAGE, "with_jax.py"), folder, "jax")
