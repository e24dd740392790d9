"""Statistics of relative chunks against those of LeRobot, starVLA and GR00T: whole or padded, per step or flat."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.pipeline.measure import chunk_statistics, exact_stats
from rt2data.pipeline.measure.exact_stats import Cells, Moments
from rt2data.robot import relative
from rt2data.tokenizer import ActionTokenizer, Dim

QUANTILES = (0.01, 0.99)

# huggingface/lerobot@7427f31, policies/groot/processor_groot.py: chunks (4, 3, 2) of which one has a padded step, which
# drops it; statistics per step (3, 2).
CHUNKS = [
    [[-0.34765625, 0.55078125], [-0.37890625, 0.4375], [0.98046875, -0.54296875]],
    [[1.23046875, 1.62109375], [1.078125, 1.1640625], [1.09765625, 2.25390625]],
    [[0.1875, 0.00390625], [0.6015625, -0.90625], [-1.5546875, -0.8828125]],
]
PER_STEP = {
    "min": [[-0.34765625, 0.00390625], [-0.37890625, -0.90625], [-1.5546875, -0.8828125]],
    "mean": [[0.3567708432674408, 0.7252604365348816], [0.43359375, 0.2317708283662796],
             [0.1744791716337204, 0.2760416567325592]],
    "std": [[0.6552908420562744, 0.6716428399085999], [0.6065723896026611, 0.8576292395591736],
            [1.223641037940979, 1.405426263809204]],
    "q01": [[-0.33695313334465027, 0.014843749813735485], [-0.35929688811302185, -0.8793749809265137],
            [-1.5039843320846558, -0.8760156035423279]],
    "q99": [[1.2096093893051147, 1.5996874570846558], [1.0685937404632568, 1.1495312452316284],
            [1.095312476158142, 2.1979687213897705]],
}  # fmt: skip


def measured(table: Any) -> dict[str, Any]:
    """The statistics of a table (n, D) as MEASURE computes them."""
    table = np.ascontiguousarray(table, np.float32)
    moments = Moments.from_array(table)
    cells = Cells.from_array(table, moments.cells(QUANTILES))
    q01, q99 = exact_stats.quantiles(moments, cells, QUANTILES)
    return {
        "min": moments.min, "max": moments.max, "mean": moments.mean, "std": moments.std, "q01": q01, "q99": q99
    }  # fmt: skip


def agree(found: dict[str, Any], wanted: dict[str, Any], shape: tuple[int, ...]) -> None:
    for name, values in wanted.items():
        if name in found:
            np.testing.assert_allclose(np.reshape(found[name], shape), values, rtol=3e-6, atol=3e-6)


def windows(episodes: Any, horizon: int, rules: tuple[str, ...], *, padded: bool) -> Any:
    """The relative chunks of episodes: those that are whole, or all of them, past the end as the last step."""
    chunks = []
    for one in episodes:
        state, action = np.array(one["state"], np.float32), np.array(one["action"], np.float32)
        for start in range(len(action) if padded else max(0, len(action) - horizon + 1)):
            rows = np.minimum(np.arange(start, start + horizon), len(action) - 1)
            chunks.append(relative.make_relative(action[rows], state[start], rules))
    return np.array(chunks)


def test_per_step_statistics_are_lerobots() -> None:
    agree(measured(np.reshape(CHUNKS, (3, 6))), PER_STEP, (3, 2))


def test_the_goldens_of_starvla_gr00t_and_lerobot() -> None:
    folder = Path(os.environ.get("RT2DATA_SHARED", "")) / "facts" / "goldens"
    if "RT2DATA_SHARED" not in os.environ or not folder.is_dir():
        pytest.skip("RT2DATA_SHARED does not name a folder with facts/goldens")
    file = json.loads((folder / "relative_statistics_starvla_lerobot_groot.json").read_bytes())
    star = file["starvla"]
    chunks = windows(star["episodes"], star["horizon"], ("subtract", "subtract", "none"), padded=True)
    found = measured(chunks.reshape(-1, 3))
    for name in ("min", "max", "q01", "q99", "mean", "std"):  # its gripper is another: see the golden's note
        np.testing.assert_allclose(found[name][:2], star["rel"][name][:2], rtol=3e-6, atol=3e-6)
    groot = json.loads((folder / "gr00t_starvla.json").read_bytes())["relative_stats"]
    chunks = windows(groot["episodes"], groot["horizon"], ("subtract", "subtract"), padded=False)
    assert len(chunks) == 6
    agree(measured(chunks.reshape(len(chunks), -1)), groot["stats"], (4, 2))
    lerobot = file["lerobot_groot"]
    whole = [chunk for chunk, pad in zip(lerobot["relative"], lerobot["pad"], strict=True) if not any(pad)]
    agree(measured(np.reshape(whole, (len(whole), -1))), lerobot["stats"], (3, 2))


def test_bounds_per_step_are_joined() -> None:
    """One set of statistics of H D dimensions gives D dimensions with H pairs of bounds, and their envelope."""

    class Source:
        class sampling:  # noqa: N801
            class relative:  # noqa: N801
                rules = ("subtract", "none")

    def measure(source: Any, stats: Any, spec: Any) -> list[Dim]:
        return [Dim("a", stats["q01"][0], stats["q99"][0], "rad"), Dim("gripper", 0.0, 1.0)]

    lists = {name: [-1.0, 0.0, -3.0, 0.0] for name in ("mean", "std", "min", "q01", "median")}
    stats = {"count": 5, "dims": ["a", "gripper"], **lists, "q99": [1.0, 1.0, 2.0, 1.0], "max": [1.0, 1.0, 2.0, 1.0]}
    tok = ActionTokenizer.from_pretrained("rt2")
    dims = chunk_statistics.chunk_bounds(Source, stats, tok, measure)  # type: ignore[arg-type]
    assert dims == [
        Dim("a", -3.0, 2.0, "rad", relative="subtract", steps=((-1.0, 1.0), (-3.0, 2.0))), Dim("gripper", 0.0, 1.0)
    ]  # fmt: skip
