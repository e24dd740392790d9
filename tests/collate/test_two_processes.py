"""Every family of models under DistributedDataParallel, in two processes, from the loader to gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import page_scripts, tiny_models
from support.built_mixture import Built
from support.repository import ROOT

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from support import tiny_models
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from rt2data import Loader
from rt2data.collate import for_processor
from rt2data.torch import DataLoader

distributed.init_process_group("gloo")
rank, world = distributed.get_rank(), distributed.get_world_size()
for family in tiny_models.FAMILIES:
    processor, model = tiny_models.family(family)
    loader = Loader({folder!r}, rank=rank, world_size=world)
    batch = next(iter(DataLoader(loader, 4, collate_fn=for_processor(processor))))
    model.eval()  # no dropout
    model(**batch).loss.backward()
    alone = {{name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}}
    model.zero_grad()
    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    loss = parallel(**batch).loss
    loss.backward()
    for name, p in sorted(model.named_parameters()):
        mean = alone.get(name, torch.zeros_like(p))
        distributed.all_reduce(mean)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, mean / world, rtol=1e-3, atol=1e-6)
    fine = loss.isfinite().item() and len(alone) > 10
    print(f"{{family}} {{rank}} {{fine}}\\n", end="", flush=True)
distributed.destroy_process_group()
"""


def test_gradients_are_the_mean_of_both_ranks(mixture: Built, tmp_path: Path) -> None:
    tiny_models.transformers()
    pytest.importorskip("torch.distributed", reason="torch is not installed")
    code = SCRIPT.format(tests=str(ROOT / "tests"), folder=str(mixture.out))
    printed = page_scripts.run(code, tmp_path, "torchrun")
    expected = [f"{family} {rank} True" for family in tiny_models.FAMILIES for rank in range(2)]
    assert sorted(printed.splitlines()) == sorted(expected)
