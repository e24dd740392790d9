"""What a new recipe over the same data reads: the index, and the images that it copies. No source is read again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora
from support.repository import TESTS

from rt2data import verify

BRIDGE, VQA, COCO = small_corpora.RECIPE["sources"]
METADATA = {"dataset_info.json", "features.json"}  # say which files there are
IMAGES = {"rt2data.images.reader", "rt2data.pipeline.staging"}  # the second looks how long a read takes
CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 6},
    "weights": {"sources": [source | {"weight": 1} for source in (BRIDGE, VQA, COCO)]},
    "one source less": {"sources": [BRIDGE, COCO], "max_repeat": 20},
    "what texts are taken": {"sources": [BRIDGE, VQA | {"answers": "draw"}, COCO | {"captions": "draw"}]},
    "prompts": {"prompts": {"robot": "In: {instruction} Out:", "vqa": "{question}", "caption": "What?"}},
    "tokenizer": {"tokenizer": {"spec": "openvla"}},
    "bounds": {"tokenizer": {"spec": "rt2", "bounds": "fixed"}},
    "form": {"form": "by_source"},
    "sizes": {"samples_per_shard": 100, "train_samples": 300},
    "splits": {"splits": {"train": 0.5, "val": 0.3, "test": 0.2}},
    "pictures": {"cameras": ["primary"], "image": {"format": "jpg", "quality": 90}},
}

# Builds ROOT/first.yaml, then every other recipe in ROOT, and prints for each which files of the data were opened by
# which module. After the first one, indexing a part is an error.
CODE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support import small_corpora
from rt2data.pipeline import build as flow
from rt2data.pipeline import indexing
root, data = Path(sys.argv[2]), sys.argv[3]
opened = set()

def asks(module):
    return module.startswith("rt2data.") and not module.startswith("rt2data.storage.")  # which opens it for others

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(data):
        frame = sys._getframe(1)
        while frame and not asks(frame.f_globals.get("__name__", "")):
            frame = frame.f_back
        opened.add((str(arguments[0])[len(data) + 1 :], frame.f_globals["__name__"] if frame else ""))

def never(*arguments, **options):
    raise AssertionError("a part was indexed again")

flow.Engine = small_corpora.in_process()
sys.addaudithook(watch)
found = {}
for recipe in [root / "first.yaml", *sorted(set(root.glob("*.yaml")) - {root / "first.yaml"})]:
    flow.build(recipe, root / recipe.stem, data_root=data, work=root / "work", progress=False)
    found[recipe.stem] = sorted(opened)
    opened.clear()
    indexing.make_index = never
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def builds(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[list[str]]]]:
    """The folder of all builds, and what each opened: (file below the data root, module)."""
    folder = tmp_path_factory.mktemp("reuse")
    small_corpora.write_recipe(folder / "first.yaml")
    for name, change in CHANGES.items():
        small_corpora.write_recipe(folder / f"{name}.yaml", name="other", **change)
    arguments = [sys.executable, "-c", CODE, str(TESTS), str(folder), str(corpora)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=250, check=False)
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout)


def test_the_first_build_reads_the_sources(builds: Any) -> None:
    files = {name.rpartition("/")[2] for name, _ in builds[1]["first"]}
    assert {"v2_OpenEnded_mscoco_train2014_questions.json", "captions_train2017.json", "features.json"} <= files


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_recipe_reads_no_source_again(builds: Any, name: str) -> None:
    folder, opened = builds
    assert any(module == "rt2data.images.reader" for _, module in opened[name])  # the images
    others = [(file, module) for file, module in opened[name] if module not in IMAGES]
    assert {file.rpartition("/")[2] for file, _ in others} <= METADATA, others
    assert small_corpora.tree(folder / name) != small_corpora.tree(folder / "first")


@pytest.mark.parametrize("name", ["prompts", "tokenizer", "form"])
def test_what_was_built_from_an_index_that_was_there_is_whole(builds: Any, name: str) -> None:
    found = verify.verify(builds[0] / name)
    assert found.ok, found.text()
