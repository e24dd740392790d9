"""`rt2data stats`: what a built mixture, or a dataset that was never built, holds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt2data import mixture, storage
from rt2data.errors import Rt2dataError
from rt2data.storage.places import Place

if TYPE_CHECKING:
    from rt2data.declarations.declaration import Declaration

Json = dict[str, Any]


def of(path: Place, *, check: bool = False) -> Json:
    """The statistics of a folder, as ``rt2data stats --json`` prints them.

    Args:
        path: a built mixture, or a dataset's folder.
        check: verify every checksum of a dataset's files; without it no image is read through.
    """
    if not path.exists():
        raise Rt2dataError(str(path), "no such folder", "a built mixture, or a dataset's folder")
    if (path / "manifest.json").exists():
        return of_mixture(path)
    return of_dataset(path, check=check)


def of_mixture(path: Place) -> Json:
    """The statistics of a built mixture: of its manifest and its ``action_statistics.json``."""
    found = mixture.load_manifest(path)
    measured = json.loads((path / "statistics.json").read_bytes())["sources"]
    sources = []
    for source in found["sources"]:
        own = measured.get(source["source"])
        sources.append(source | {"instructions": own["instructions"] if own else None, "actions": own})
    splits = {name: split["samples"] for name, split in found["splits"].items()}
    form = found["recipe"]["form"]
    return {
        "name": found["name"], "what": "mixture", "form": form, "checked": True, "splits": splits, "sources": sources,
    }  # fmt: skip


def of_dataset(path: Place, *, check: bool) -> Json:
    """The statistics of a dataset's folder, through a declaration that fits it."""
    # Here and not above: a built mixture's statistics need the core alone.
    from rt2data import sources
    from rt2data.pipeline import action_statistics, bin_counts, stages
    from rt2data.plan import plan, planner
    from rt2data.plan import text as plan_text
    from rt2data.recipes import recipe
    from rt2data.runners.engine import Direct
    from rt2data.tokenizer import ActionTokenizer

    declared = _declaration_of(path)
    taken = sorted(sources.of_format(declared, str(path))(declared, path).splits())
    source = {"source": declared.name, "path": str(path.absolute()), "splits": {"train": taken}}
    cameras = list(declared.cameras[:1]) if declared.robot else ["image"]
    the_recipe = recipe.parse({"name": "stats", "cameras": cameras, "sources": [source]}, str(path))
    with tempfile.TemporaryDirectory() as work:
        engine = Direct(plan_text.Reporter(enabled=True))
        opened = [stages.open_source(s, None) for s in the_recipe.sources]
        the_job = stages.index_all(the_recipe, opened, Path(work), engine, check="header" if check else "quick")
        measured = stages.measure_all(the_job, engine)
        counted = plan.empty(the_recipe, [{}])
        for _ in planner.walk(the_job, counted):
            pass
        instructions = action_statistics.instructions(the_job, 0)
        actions = None
        if measured and measured[0]["train"]["count"]:
            tokenizer = stages.resolve(the_recipe, ActionTokenizer.from_pretrained("rt2"), measured)
            bins, clipped = bin_counts.count_bins(the_job, tokenizer)["train"]
            train = measured[0]["train"] | {"clipped": clipped.tolist(), "bins": bins.tolist()}
            actions = {"episodes": counted[0].units, "all": measured[0]["all"], "train": train}
    one = counted[0]
    found = {
        "source": one.source, "dataset": one.dataset, "kind": one.kind, "units": one.units, "rows": one.rows,
        "left_out": dict(one.left_out), "never_terminate": one.never_terminate, "usable": dict(one.samples),
        "instructions": instructions, "actions": actions,
    }  # fmt: skip
    splits = {name: opened[0].splits()[name] for name in taken}
    return {"name": declared.name, "what": "dataset", "checked": check, "splits": splits, "sources": [found]}


def _declaration_of(path: Place) -> Declaration:
    """The declaration of a folder: by ``dataset_info.json``, else the one whose annotation files are there."""
    from rt2data.declarations import declaration

    infos = [path / name for name in ("dataset_info.json", *storage.matching(path, "*/dataset_info.json"))]
    for info in infos:
        if info.is_file():
            try:
                name = json.loads(info.read_bytes()).get("name", "")
            except ValueError:
                raise Rt2dataError(
                    str(info), "not JSON", "dataset_info.json as TensorFlow Datasets writes it"
                ) from None
            return declaration.find(name, str(info))
    known = [one for one in declaration.declared().values() if one.web]
    for exact in (True, False):  # any folder of tars fits `*.tar`, so the names of files come first
        for one in known:
            for roles in one.web.splits.values() if one.web else ():
                if all(any(_holds(path, name) for name in names if exact != ("*" in name)) for names in roles.values()):
                    return one
    expected = (
        "manifest.json of a mixture, dataset_info.json of an RLDS dataset, or the annotation files of a declared corpus"
    )
    raise Rt2dataError(str(path), "nothing that rt2data knows", expected, "`rt2data datasets` lists what is declared")


def _holds(path: Place, name: str) -> bool:
    """Whether a folder holds files of a declared name."""
    return bool(storage.matching(path, name)) if "*" in name else (path / name).is_file()


def text(stats: Json) -> str:
    """The statistics as tables of at most 100 columns."""
    whose = "the mix" if stats.get("form") == "by_source" else "train"
    lines = [f"{stats['what']} {stats['name']}: " + ", ".join(f"{name} {n:,}" for name, n in stats["splits"].items())]
    if not stats["checked"]:
        lines.append("checksums of the files were not verified; --check verifies them")
    for s in stats["sources"]:
        word = ("episodes", "steps") if s["kind"] == "robot" else ("examples", "examples")
        found = (
            f"{s['units']:,} {word[0]}, {s['rows']:,} {word[1]}" if s["kind"] == "robot" else f"{s['rows']:,} examples"
        )
        lines += ["", f"{s['dataset']} ({s['kind']}): {found}"]
        if s.get("share_got") is not None:
            wanted = f"wanted {100 * s['share_wanted']:.2f} %, got " if s["share_wanted"] is not None else ""
            lines.append(f"  share of {whose}: {wanted}{100 * s['share_got']:.2f} % ({s['mix']:,} samples)")
        left = ", ".join(f"{n:,} {reason}" for reason, n in s["left_out"].items())
        lines.append(f"  left out: {left or 'nothing'}")
        if s.get("never_terminate"):
            lines.append(f"  episodes in which no step terminates: {s['never_terminate']:,}")
        if s.get("instructions") and s["instructions"]["distinct"]:
            lines.append(f"  instructions: {s['instructions']['distinct']:,} distinct; most frequent, by episodes:")
            lines += [
                f"    {n:>6,}  {text if len(text) <= 84 else text[:81] + '...'}"
                for text, n in s["instructions"]["most_frequent"][:5]
            ]
        if s["actions"]:
            lines += _action_table(s["actions"]["train"])
    return "\n".join(lines)


def _action_table(train: Json) -> list[str]:
    if not train["count"]:
        return ["  no train step"]
    names = ("mean", "std", "min", "q01", "median", "q99", "max")
    lines = [
        f"  actions of {train['count']:,} train steps:",
        f"  {'':<10}" + "".join(f"{n:>10}" for n in names) + f"{'clipped':>9}{'unused':>8}",
    ]
    bins = train["bins"][-len(train["dims"]) :]  # without the row of the terminate field, where there is one
    for i, dim in enumerate(train["dims"]):
        numbers = "".join(f"{train[n][i]:>10.4f}" for n in names)
        unused, clipped = sum(n == 0 for n in bins[i]), train["clipped"][i] / sum(bins[i])
        lines.append(f"  {dim[:10]:<10}{numbers}{100 * clipped:>7.2f} %{unused:>8}")
    return lines
