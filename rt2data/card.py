"""The dataset card of a mixture: ``README.md`` with the YAML that `datasets.load_dataset` reads."""

from __future__ import annotations

from typing import Any

import yaml

from rt2data import images, select
from rt2data.job import Job

_STRINGS = (
    "key", "kind", "source", "dataset", "split", "prompt", "target", "language", "instruction", "episode", "tokenizer",
    "example", "question",
)  # fmt: skip
_NUMBERS = ("step", "steps", "horizon")
_LISTS = {
    "images": "string", "dims": "string", "action": "float32", "terminate": "bool", "bins": "int32",
    "proprio": "float32", "action_valid": "bool", "image_valid": "bool", "turns": "string",
    "answers": "string", "captions": "string",
}  # fmt: skip


def members(the_job: Job) -> list[str]:
    """Every image member that a sample of the mixture may have: ``jpg``, ``png``, ``webp``, ``wrist.jpg``, …"""
    kinds = [the_job.recipe.image["format"]] if the_job.recipe.image else list(images.FORMATS)
    later = dict.fromkeys(name for source in the_job.recipe.sources for name in select.cameras(source)[1:])
    return [f"{before}{kind}" for before in ("", *(f"{name}." for name in later)) for kind in kinds]


def features(the_job: Job) -> list[dict[str, Any]]:
    """The features of a sample as `datasets` writes them in YAML.

    Without them types are guessed from five samples, and a
    null or another image format in the sixth fails.
    """
    from rt2data.render import FIELDS

    json = []
    for name in FIELDS:
        kind = {"list": _LISTS[name]} if name in _LISTS else {"dtype": "string" if name in _STRINGS else "int64"}
        json.append({"name": name} | kind)
    own = [{"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}]
    return [*({"name": m, "dtype": "image"} for m in members(the_job)), {"name": "json", "struct": json}, *own]


def text(manifest: dict[str, Any], the_job: Job) -> str:
    """The card."""
    name = manifest["name"]
    configs = [
        {
            "config_name": "default",
            "data_files": [{"split": s, "path": f"{s}/*.tar"} for s, v in manifest["splits"].items() if v["shards"]],
        }
    ]
    head = {
        "pretty_name": name,
        "task_categories": ["robotics", "visual-question-answering", "image-to-text"],
        "tags": ["rt2data", "webdataset"],
        "configs": configs,
        "dataset_info": {"features": features(the_job)},
    }
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "---", "", f"# {name}", ""]
    lines += [
        manifest["recipe"].get("description", "A mixture of robot demonstrations and web data, built by rt2data."),
        "",
    ]
    lines += ["| source | kind | train samples | share | licence |", "| --- | --- | ---: | ---: | --- |"]
    for s in manifest["sources"]:
        lines.append(
            f"| {s['dataset']} | {s['kind']} | {s['samples']['train']:,} "
            f"| {100 * (s['share_got'] or 0):.1f} % | {s['licence']} |"
        )
    lines += ["", "| split | samples | shards |", "| --- | ---: | ---: |"]
    lines += [f"| {split} | {v['samples']:,} | {len(v['shards'])} |" for split, v in manifest["splits"].items()]
    lines += [
        "",
        "A robot sample's target is an action string, written and read by the tokenizer in `tokenizer.json`:",
        "",
    ]
    lines += ["```python", "from rt2data import ActionTokenizer",
              f'tok = ActionTokenizer.from_pretrained("{name}").for_source(sample["json"]["source"])',
              'action = tok.decode(tok.parse(sample["json"]["target"]))', "```", ""]  # fmt: skip
    cited = [s for s in manifest["sources"] if s["citation"]]
    lines += ["## Citations", "", *(f"- {s['dataset']}: {s['citation']}" for s in cited), ""] if cited else []
    return "\n".join(lines)
