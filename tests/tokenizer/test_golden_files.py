"""Files of published numbers: the entries that the tests of each scheme and stack do not read.

Not compared, because rt2data has no such thing: GR00T's sine and cosine of joints, openpi's `make_bool_mask`, starVLA's
deltas from step to step, LeRobot's quantiles by histograms and their mean of January 2026, the state that FAST's own
processor keeps between calls, and how it cleans up spaces.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.goldens import read_goldens

from rt2data.errors import Rt2dataError
from rt2data.pipeline.measure.exact_stats import Cells, Moments, quantiles
from rt2data.robot import relative
from rt2data.tokenizer import ActionTokenizer, Dim
from rt2data.tokenizer.normalisers import normaliser_of
from rt2data.tokenizer.statistics import lerobot, read_statistics, statistics_of


def numbers(raw: Any, dtype: Any = np.float64) -> np.ndarray:
    return np.vectorize(float)(np.array(raw, object)).astype(dtype)


def plain(count: int) -> list[Dim]:
    return [Dim(f"d{i}", -1.0, 1.0) for i in range(count)]


def published_fast() -> ActionTokenizer:
    read_goldens("fast_plus_edges.json")  # or skip
    return ActionTokenizer.from_pretrained(Path(os.environ["RT2DATA_SHARED"]) / "data" / "fast_plus")


def test_a_small_fit_of_fast() -> None:
    """LeRobot's fit on 400 chunks: its ids, and the one code of its range whose bytes its alphabet lacks."""
    stored = read_goldens("fast_fit_small.json")
    data = np.random.default_rng(5).normal(0, 0.3, (400, 8, 7)).cumsum(1)
    alphabet = [text for text, _ in stored["vocab_items"]][: stored["vocab"] - len(stored["merges"])]
    ids = {text: i for i, text in enumerate(alphabet)}
    merges = []
    for merge in stored["merges"]:
        left, right = merge.split(" ")
        merges.append([ids[left], ids[right]])
        ids.setdefault(left + right, len(ids))
    raw = ActionTokenizer.from_pretrained("fast-bpe").with_dims(plain(7)).with_horizon(8).to_dict()
    options = {"scale": stored["scale"], "min_code": stored["min_token"], "merges": merges, "alphabet": alphabet}
    tok = ActionTokenizer.from_dict(raw | {"options": options})
    found = [list(map(int, text.split())) for text in tok.format(tok.encode(data[:20]))]
    assert found == stored["ids_of_first_20"]


def test_every_code_of_the_published_fast_survives() -> None:
    pitfalls = read_goldens("fast_pitfalls.json")["plus"]
    tok = published_fast().with_dims(plain(1)).with_horizon(2)
    codes = np.stack([np.arange(pitfalls["of"]), np.arange(pitfalls["of"])[::-1]], axis=1)
    lost = [row for row, text in zip(codes, tok.format(codes), strict=True) if (tok.parse(text) != row).any()]
    assert len(lost) == pitfalls["failing"]


def test_the_published_fast_encodes_edges() -> None:
    edges = read_goldens("fast_plus_edges.json")
    tok, config = published_fast(), read_goldens("fast_plus_chunks.json")["config"]
    assert (tok.spec.options["min_code"], tok.spec.options["scale"]) == (config["min_token"], config["scale"])
    assert tok.with_dims(plain(1)).with_horizon(2).with_vocabulary(257152).automaton().ids == {
        257152 - 129 - i for i in range(config["vocab_size"])
    }
    compared = 0
    for case in edges["encode"]:
        if "ok" not in case["result"]:
            continue
        x = numbers(case["x"])
        own = tok.with_dims(plain(x.shape[1])).with_horizon(len(x))
        codes = own.encode(x if len(x) > 1 else x[0])
        theirs = own.parse(" ".join(map(str, case["result"]["ok"][0])))
        compared += (codes == theirs).all()
        assert (np.abs(codes - theirs) <= 1).all(), case["case"]  # at an exact half either neighbour
    assert compared == 5
    chunks = np.random.default_rng(1).normal(0, 0.3, (300, *edges["float32_vs_float64"]["shape"])).astype(np.float32)
    own = tok.with_dims(plain(7)).with_horizon(16)
    differ = (own.encode(chunks) != own.encode(chunks.astype(np.float64))).sum()
    assert differ == edges["float32_vs_float64"]["codes_different"]


def test_gr00t_by_its_processor() -> None:
    known = read_goldens("gr00t_starvla.json")
    case = known["minmax"]
    x, params = numbers(case["x"]), statistics_of(case["params"])
    scale, standard = normaliser_of("gr00t", params, "minmax"), normaliser_of("gr00t", params, "zscore")
    clip = np.clip  # its processor clips what its function leaves
    np.testing.assert_allclose(scale.normalise(x), clip(numbers(case["normalized"]), -1, 1), atol=1e-12)
    np.testing.assert_allclose(scale.denormalise(x), numbers(case["unnormalized_of_x"]), atol=1e-12)
    single = normaliser_of(
        "gr00t", statistics_of({n: np.array(v, np.float32) for n, v in case["params"].items()}), "minmax"
    )
    found = single.normalise(x.astype(np.float32))
    np.testing.assert_allclose(found, clip(numbers(known["float32_minmax"]["normalized"]), -1, 1), atol=1e-6)
    other = known["meanstd"]
    np.testing.assert_allclose(standard.normalise(x), clip(numbers(other["normalized"]), -1, 1), atol=1e-12)
    for form in ("xyz+rot6d", "xyz+rotvec"):
        one = known[form]
        size = len(one["state"])
        contrast = relative.make_relative(np.array(one["absolute"]), np.array(one["state"]), ["subtract"] * size)
        np.testing.assert_allclose(contrast, one["angle_subtraction_for_contrast"], atol=1e-14)


def test_starvla_when_it_acts() -> None:
    case = read_goldens("gr00t_starvla.json")["starvla_unnormalize"]
    x = np.array(case["x"])
    ends = {"q01": [-1.0] * 7, "q99": [2.0] * 7}
    for name, mask in (("no_mask", None), ("mask_last_false", np.array([True] * 6 + [False]))):
        one = normaliser_of("starvla-deploy", statistics_of(ends, mask=mask))
        np.testing.assert_allclose(one.denormalise(x), case[name], atol=1e-12)
    three = statistics_of({name: values[:3] for name, values in ends.items()})
    np.testing.assert_allclose(
        normaliser_of("starvla-deploy", three).denormalise(x[:, :3]), case["three_dims"], atol=1e-12
    )


def test_openvla_oft_scales_back_with_its_epsilon() -> None:
    known = read_goldens("openvla_octo_normalization.json")
    y = np.array([[-1.0] * 5 + [0.0], [0.0] * 5 + [0.5], [1.0] * 6, [2.0, -2.0, 0.0, 0.0, 0.0, 2.0]])
    measured = statistics_of(known["statistics"], mask=np.array(known["mask"]))
    for name, kind in (("oft_unnormalize_bounds", "minmax"), ("oft_unnormalize_bounds_q99", "quantiles")):
        found = normaliser_of("openvla-oft", measured, kind).denormalise(y)
        np.testing.assert_allclose(found, known[name], rtol=0, atol=1e-12)


def test_quantiles_are_numpys_in_float64() -> None:
    case = read_goldens("openvla_octo_normalization.json")["quantile_dtype"]
    data = np.random.default_rng(8).normal(0, 1, (997, 3)).astype(np.float32)
    moments = Moments.from_array(data)
    (found,) = quantiles(moments, Cells.from_array(data, moments.cells((0.01,))), (0.01,))
    assert list(found) == case["q01_of_float64_copy"]
    np.testing.assert_allclose(moments.std, case["std_float64"], rtol=1e-12)


def test_relative_actions_refuse_integers_and_short_states() -> None:
    file = read_goldens("relative_actions.json")["openpi"]
    assert "error" in file["integer_actions"]
    with pytest.raises(Rt2dataError):
        relative.make_relative(np.ones((2, 7), int), np.ones(7), ["subtract"] * 7)
    assert "error" in file["state_shorter_than_mask"]
    with pytest.raises(Rt2dataError):
        relative.make_relative(np.ones((2, 7)), np.ones(5), ["subtract"] * 7)


def test_relative_statistics_of_lerobot() -> None:
    case = read_goldens("statistics_and_normalizers.json")["lerobot_relative_stats"]
    action, state = np.array(case["action"], np.float32), np.array(case["state"], np.float32)
    stats, horizon = case["stats"], case["chunk_size"]
    episode = np.array(case["episode_index"])
    starts = [s for s in range(len(action) - horizon + 1) if episode[s] == episode[s + horizon - 1]]
    assert starts == case["valid_starts"]
    rules = ["subtract", "subtract", "none"]  # its gripper is exempt
    flat = np.concatenate([relative.make_relative(action[s : s + horizon], state[s], rules) for s in starts])
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(getattr(flat.astype(np.float64), name)(axis=0), stats[name], atol=2e-6)
    assert len(flat) == stats["count"][0]


def test_statistics_of_lerobot_and_openpi(tmp_path: Path) -> None:
    known = read_goldens("statistics_and_normalizers.json")
    data = np.concatenate([np.array(batch, np.float32) for batch in known["batches"]])
    moments = Moments.from_array(data)
    for name in ("min", "max", "mean", "std"):
        found = np.array(getattr(moments, name))
        np.testing.assert_allclose(found, known["float64"]["lerobot_running"][name], rtol=1e-12, atol=1e-15)
    ours = quantiles(moments, Cells.from_array(data, moments.cells((0.01, 0.99))), (0.01, 0.99))
    np.testing.assert_allclose(ours, [known["float64"]["numpy"][name] for name in ("q01", "q99")], rtol=1e-12)
    one = known["lerobot_dataset_stats"]["one_frame_episode"]
    assert lerobot.merge([one], "episode") == one
    (tmp_path / "norm_stats.json").write_text(json.dumps(known["openpi_norm_stats_json"]))
    read = read_statistics(tmp_path / "norm_stats.json")
    assert (read.stack, set(read.measures)) == ("openpi", {"mean", "std"})
    normal = known["lerobot_normalizer"]
    scaled = normaliser_of("lerobot", statistics_of(normal["statistics"]), "quantiles").normalise(numbers(normal["x"]))
    trained = numbers(known["lerobot_train_tokenizer_normalization"]["quantiles"]["ok"])
    np.testing.assert_allclose(np.clip(scaled, -1, 1)[:, :2], trained[:, :2], atol=1e-9)


def test_spatialvlas_bins_and_what_they_lose() -> None:
    stored = read_goldens("spatialvla.json")
    tok = ActionTokenizer.from_pretrained("spatialvla").with_horizon(1)
    assert tok.bins == stored["config"]["num_bins"]["total"]
    uniform = ActionTokenizer.from_dict(tok.to_dict() | {"options": {}})
    x = np.array(stored["x"])
    for name, own in (("bridge gaussian", tok), ("uniform", uniform)):
        case = stored["results"][name]
        again = own.encode(own.decode(np.array(case["ids"]), dtype="float64").actions)
        assert (again != own.encode(x)).any(axis=1).sum() <= 2 * case["not_idempotent"] + 1
        differ = own.encode(x.astype(np.float32)) != own.encode(x)
        assert differ.sum() == case["float32_ids_differ"]
    actions = np.random.default_rng(0).uniform(-1, 1, (20000, 7))
    many = stored["uniform_20000"]
    errors = np.abs(tok.decode(tok.encode(actions), dtype="float64").actions - actions)
    np.testing.assert_allclose(errors.mean(axis=0)[3:6], many["mean_abs_error"][3:6], rtol=0.1)


def test_fast_in_paligemma() -> None:
    case = read_goldens("state_tokens.json")["paligemma_map"]
    raw = ActionTokenizer.from_pretrained("fast").with_horizon(1).with_dims(plain(1)).to_dict()
    tok = ActionTokenizer.from_dict(raw | {"bins": 2048, "vocabulary": {"place": "tail", "skip": case["skip"]}})
    tok = tok.with_vocabulary(case["vocab_size"])
    assert tok.token_ids(np.array(case["fast"])[:, None])[:, 0].tolist() == case["ids"]
