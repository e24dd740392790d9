"""The dataset card's YAML: `datasets` reads every member and field of it, and nothing else."""

from __future__ import annotations

from typing import Any

import yaml

from rt2data.storage.places import Place
from rt2data.verify import schema
from rt2data.verify.report import Report

Json = dict[str, Any]

MAX_CARD = 1 << 20  # bytes

_SCALARS = {
    "string": ("string",),
    "integer": ("int64", "int32"),
    "number": ("float32", "float64"),
    "boolean": ("bool",),
}


def check(folder: Place, manifest: Json, suffixes: set[str], report: Report) -> None:
    """Hold ``README.md`` to the members that were seen (`suffixes`), the schema's fields, the manifest's splits.

    A mixture of the form by_source has a configuration for each source besides the default one.
    """
    held, where, apart = report["card"], "README.md", manifest["recipe"].get("form") == "by_source"
    try:
        head = _front(folder / where)
        infos = head["dataset_info"] if apart else [{"config_name": "default"} | head["dataset_info"]]
        features = {entry["name"]: entry for entry in infos[0]["features"]}
        files = {
            config["config_name"]: {entry["split"]: entry["path"] for entry in config["data_files"]}
            for config in head["configs"]
        }
        fields = {entry["name"]: entry for entry in features["json"]["struct"]}
    except (OSError, ValueError, KeyError, IndexError, TypeError, yaml.YAMLError, RecursionError) as error:
        held.expect(
            False,
            where,
            f"{type(error).__name__} {error}".replace("\n", " "),
            "a dataset card with YAML that has configs and features",
        )
        return
    for suffix in sorted(suffixes):
        held.expect(
            features.get(suffix, {}).get("dtype") == "image",
            where,
            f"no image feature {suffix}",
            "every member that a sample has",
        )
    for name in ("__key__", "__url__"):
        held.expect(
            features.get(name, {}).get("dtype") == "string", where, f"no feature {name}", "the two that datasets adds"
        )
    wanted = schema.load("sample")["properties"]
    held.expect(list(fields) == list(wanted), where, f"the fields {', '.join(fields)}", ", ".join(wanted))
    for name, rule in wanted.items():
        entry = fields.get(name, {})
        kinds = rule.get("type", "string")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        found, names = (
            (entry.get("list"), _SCALARS[rule["items"]["type"]])
            if kind == "array"
            else (entry.get("dtype"), _SCALARS[kind])
        )
        held.expect(
            found in names,
            where,
            f"{name} of type {found}",
            " or ".join(names) + (" in a list" if kind == "array" else ""),
        )
    pattern = "*/*.tar" if apart else "*.tar"
    there = {"default": {name: f"{name}/{pattern}" for name, split in manifest["splits"].items() if split["shards"]}}
    for source in manifest["sources"] if apart else ():
        own = source["source"]
        there[own] = {name: f"{name}/{own}/*.tar" for name, samples in source["samples"].items() if samples}
    held.expect(files == there, where, f"data files {files}", str(there))
    same = [info.get("config_name") for info in infos if info.get("features") == infos[0]["features"]]
    held.expect(same == list(there), where, f"features of {same}", f"the same features for {', '.join(there)}")


def _front(path: Place) -> Any:
    raw = path.read_bytes()[: MAX_CARD + 1]
    parts = raw.decode("utf-8").split("---\n", 2)
    if len(raw) > MAX_CARD or len(parts) != 3 or parts[0]:
        raise ValueError("no YAML between --- and ---")
    return yaml.safe_load(parts[1])
