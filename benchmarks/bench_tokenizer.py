"""Speed of the action tokenizer: batches against a loop over steps and the textbook `np.digitize`, and single steps.

    python benchmarks/bench_tokenizer.py [--steps 1000000] [--rounds 3] [--gpu-actions 100000000]

Prints one line of JSON per measurement, the best of the rounds, all on one core. Where torch sees a GPU, encoding on it
is compared with copying the actions on the device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rt2data import ActionTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu-actions", type=int, default=100_000_000)
    args = parser.parse_args()
    tok = ActionTokenizer.from_pretrained("rt2")
    batches(tok, args.steps, args.rounds)
    single_steps(tok, args.rounds)
    report("import of the tokenizer", beyond_numpy_ms=round(min(import_seconds() for _ in range(args.rounds)) * 1e3, 1))
    gpu(tok, args.gpu_actions, args.rounds)


def batches(tok: ActionTokenizer, steps: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    low, high = np.array([d.low for d in tok.dims]), np.array([d.high for d in tok.dims])
    actions = rng.uniform(1.1 * low, 1.1 * high, (steps, len(tok.dims))).astype(np.float32)
    terminate = rng.random(steps) < 0.02
    few = slice(0, max(steps // 50, 1))

    def batch() -> list[str]:
        lines: list[str] = tok.format(tok.encode(actions, terminate))
        return lines

    def loop() -> list[str]:
        pairs = zip(actions[few], terminate[few], strict=True)
        return [tok.format(tok.encode(a, bool(t))) for a, t in pairs]

    def textbook() -> list[str]:
        """Edges, one digitize per step, strings joined: what most projects have."""
        edges = np.linspace(low, high, tok.bins + 1)
        lines = []
        for a, t in zip(actions[few], terminate[few], strict=True):
            clipped = np.clip(a, low, high)
            bins = [min(int(np.digitize(x, e)) - 1, tok.bins - 1) for x, e in zip(clipped, edges.T, strict=True)]
            lines.append(" ".join(map(str, [0 if t else 1, *bins])))
        return lines

    def textbook_batch() -> list[str]:
        """The same with one digitize per dimension for all steps."""
        edges = np.linspace(low, high, tok.bins + 1)
        clipped = np.clip(actions, low, high)
        columns = [np.minimum(np.digitize(clipped[:, d], edges[:, d]) - 1, tok.bins - 1) for d in range(len(low))]
        rows = np.stack([np.where(terminate, 0, 1), *columns], axis=1)
        return [" ".join(map(str, row)) for row in rows.tolist()]

    assert batch()[few] == loop()
    count = few.stop
    ours = best(batch, rounds) / steps
    each, digitize, columns = (
        best(loop, rounds) / count,
        best(textbook, rounds) / count,
        best(textbook_batch, 1) / steps,
    )
    report(
        "encode and format a batch",
        steps=steps,
        steps_per_s=round(1 / ours),
        times_loop=round(each / ours, 1),
        times_digitize_loop=round(digitize / ours, 1),
        times_digitize_batch=round(columns / ours, 1),
    )
    encoded = tok.encode(actions, terminate)
    report("encode a batch", steps_per_s=round(steps / best(lambda: tok.encode(actions, terminate), rounds)))
    report("format a batch", steps_per_s=round(steps / best(lambda: tok.format(encoded), rounds)))
    report("decode a batch", steps_per_s=round(steps / best(lambda: tok.decode(encoded), rounds)))
    lines = tok.format(encoded[few])
    report("parse a batch", steps_per_s=round(count / best(lambda: tok.parse(lines), rounds)))


def single_steps(tok: ActionTokenizer, rounds: int) -> None:
    action, text = np.array([0.01, -0.02, 0.5, 0.1, -1.0, 0.0, 1.0], np.float32), "1 128 91 241 5 101 127 217"

    def times(f: Callable[[], Any], count: int = 5000) -> float:
        def run() -> None:
            for _ in range(count):
                f()

        return round(best(run, rounds) / count * 1e6, 2)

    bins = tok.parse(text)
    report(
        "one step, microseconds",
        encode=times(lambda: tok.encode(action, False)),
        format=times(lambda: tok.format(bins)),
        parse=times(lambda: tok.parse(text)),
        decode=times(lambda: tok.decode(bins)),
        parse_and_decode=times(lambda: tok.decode(tok.parse(text))),
    )


def gpu(tok: ActionTokenizer, count: int, rounds: int) -> None:
    try:
        import torch
    except ImportError:
        return
    if not torch.cuda.is_available():
        return
    actions = torch.rand((count, 7), device="cuda", dtype=torch.float32)
    flags = torch.zeros(count, device="cuda", dtype=torch.bool)

    def timed(f: Callable[[], Any]) -> float:
        def run() -> None:
            f()
            torch.cuda.synchronize()

        run()
        return best(run, rounds)

    compiled = torch.compile(lambda a, t: tok.encode(a, t, validate=False))
    copy = timed(actions.clone)
    report(
        "encode on a GPU, times a device copy",
        actions=count,
        copy_ms=round(copy * 1e3, 2),
        checked=round(timed(lambda: tok.encode(actions, flags)) / copy, 2),
        unchecked=round(timed(lambda: tok.encode(actions, flags, validate=False)) / copy, 2),
        compiled=round(timed(lambda: compiled(actions, flags)) / copy, 2),
    )


def import_seconds() -> float:
    code = "import numpy, time; t = time.perf_counter(); import rt2data.tokenizer; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def best(f: Callable[[], Any], rounds: int) -> float:
    """The shortest of `rounds` runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def report(what: str, **numbers: object) -> None:
    print(json.dumps({"benchmark": what, **numbers}), flush=True)


if __name__ == "__main__":
    main()
