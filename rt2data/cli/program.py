"""The command line. Results go to stdout, all else to stderr; exit status 0 fine, 1 a check failed, 2 bad input."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from rt2data import __version__
from rt2data.errors import Rt2dataError

# What each command needs is imported inside it: --help answers at once, and `tokenize` needs numpy only.


def program() -> int:
    """`main` in a process of its own, where what is imported stays: Beam alone makes some 100,000 objects.

    To look for cycles among them while they are made, and again at the end, took 0.3 s of CPU.
    """
    gc.set_threshold(100_000, 50, 100)
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    beam: list[str] = []
    if "--" in arguments and arguments[:1] == ["build"]:
        at = arguments.index("--")
        arguments, beam = arguments[:at], arguments[at + 1 :]
    args = parser().parse_args(arguments)
    args.beam = beam
    try:
        return int(args.run(args) or 0)
    except Rt2dataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "rt2data":
            raise
        extra = {"h5py": "hdf5", "obstore": "cloud"}.get(error.name or "", "build")
        print(
            f"error: {args.command}: the package {error.name} is not installed; expected the {extra} extra. "
            f'Run pip install "rt2data[{extra}]".',
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # `rt2data inspect … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        found = f"{error.filename or args.command}: {error.strerror or error}"
        print(f"error: {found}; expected files that can be read, and room and permission to write.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues where this one stopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    top = argparse.ArgumentParser(
        prog="rt2data",
        description="Robot demonstrations and web data as one shuffled, weighted, reproducible mixture.",
        epilog="`rt2data COMMAND --help` shows an example of each. To begin: rt2data plan quickstart",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        return made

    one = command("sample", _sample, "write the embedded sample corpora", "rt2data sample out/sample")
    one.add_argument("dir", type=_local, metavar="DIR", help="the folder to write; it becomes a data root")
    one.add_argument("--seed", type=int, default=17, help="of the world that is rendered (default 17)")

    one = command(
        "plan",
        _plan,
        "show what a recipe would build, and build nothing",
        "rt2data plan quickstart --data-root out/sample",
    )
    one.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that comes with rt2data")
    _data(one)
    one.add_argument("--out", type=_place, metavar="DIR", help="where the mixture would be (default out/NAME)")
    one.add_argument(
        "--workers", type=_positive, metavar="N", help="how many the hours are for (default: all processors)"
    )
    one.add_argument("--index", action="store_true", help="index what is not indexed yet: the plan is exact then")
    one.add_argument("--check", action="store_true", help="with --index: verify every checksum of the source files too")
    one.add_argument(
        "--left-out", type=_local, metavar="FILE", help="write what is left out, a line each (needs an exact plan)"
    )
    one.add_argument("--json", action="store_true", help="print JSON")

    one = command(
        "build", _build, "build a mixture", "rt2data build quickstart --data-root out/sample --out out/quickstart"
    )
    one.epilog = f"{one.epilog}\nA build that was stopped goes on with the same command. What follows -- goes to Beam"
    one.epilog += "\nas it is, such as -- --runner=FlinkRunner (docs/scale_out.md)."
    one.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that comes with rt2data")
    one.add_argument(
        "--out",
        type=_place,
        required=True,
        metavar="DIR",
        help="the mixture's folder or URL: new, or of an earlier build of the same",
    )
    _data(one)
    one.add_argument("--workers", type=_positive, metavar="N", help="worker processes (default: one per processor)")
    one.add_argument(
        "--staged",
        choices=["auto", "yes", "no"],
        default="auto",
        help="first copy images in the order of the shards, in long reads (default auto: where single reads are slow)",
    )
    one.usage = (
        "rt2data build [-h] RECIPE --out DIR [--data-root DIR] [--work DIR] [--workers N]\n"
        "                     [--staged auto|yes|no] [-- BEAM OPTIONS]"
    )

    one = command(
        "stats",
        _stats,
        "print the statistics of a mixture, or of a dataset that was never built",
        "rt2data stats out/quickstart",
    )
    one.add_argument("path", type=_place, metavar="PATH", help="a built mixture, or a dataset's folder")
    one.add_argument("--check", action="store_true", help="verify every checksum of a dataset's files too")
    one.add_argument("--json", action="store_true", help="print JSON")

    one = command("inspect", _inspect, "show samples of a mixture", "rt2data inspect out/quickstart --limit 3")
    one.add_argument("path", type=_place, metavar="PATH", help="a built mixture, or one of its shards")
    one.add_argument("--limit", type=_positive, default=5, metavar="N", help="how many samples (default 5)")
    one.add_argument("--json", action="store_true", help="print JSON, a sample a line")

    text = "write a mixture in the chat form of a fine-tuning framework"
    one = command("export", _export, text, "rt2data export out/quickstart out/chat --format messages")
    one.add_argument("path", type=_place, metavar="OUT", help="a built mixture")
    one.add_argument("target", type=_place, metavar="DST", help="the folder to write: new or empty")
    one.add_argument(
        "--format", choices=["messages", "llava"], required=True,
        help="messages: LLaMA-Factory, ms-swift; llava: LLaVA, Qwen-VL's own code",
    )  # fmt: skip
    one.add_argument(
        "--images", choices=["files", "parquet"], default="files", help="as files, or inside Parquet (default files)"
    )

    one = command("verify", _verify, "read a mixture back and check every promise", "rt2data verify out/quickstart")
    one.add_argument("path", type=_place, metavar="PATH", help="a built mixture")
    one.add_argument(
        "--data-root", type=_place, metavar="DIR", help="hold plans in words to the annotations there, read whole"
    )
    one.add_argument("--json", action="store_true", help="print JSON")

    one = command(
        "datasets", _datasets, "list the declared datasets and corpora, or show one in full", "rt2data datasets bridge"
    )
    one.usage = (
        "rt2data datasets [-h] [--json | --markdown] [NAME]\n"
        "       rt2data datasets check NAME --data-root DIR [--path DIR] [--episodes N] [--json]"
    )
    one.add_argument("words", nargs="*", metavar="NAME", help="a name or alias; check NAME: test its claims")
    one.add_argument("--data-root", type=_place, metavar="DIR", help="check: the folder or URL that holds the datasets")
    one.add_argument("--path", metavar="DIR", help="check: the dataset's folder, where it is not a declared one")
    one.add_argument("--episodes", type=_positive, default=50, metavar="N", help="check: how many (default 50)")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument("--markdown", action="store_true", help="the list as the page docs/datasets.md")

    text = "write a dataset of another format as RLDS"
    one = command("convert", _convert, text, "rt2data convert roboset downloads/RoboSet data")
    one.add_argument("format", choices=["roboset"], help="roboset: a folder of RoboSet's HDF5 files")
    one.add_argument("source", type=_local, metavar="SRC", help="the folder to read")
    one.add_argument("target", type=_local, metavar="DST", help="the folder to write into; it becomes a data root")

    text = "turn actions into action strings"
    one = command("tokenize", _tokenize, text, 'echo "0 0.01 -0.02 0.005 0 0 0.1 1" | rt2data tokenize')
    one.add_argument(
        "numbers", nargs="*", metavar="NUMBER", help="terminate (0 or 1), then the action; none: lines of stdin"
    )
    one._negative_number_matcher = re.compile(r"-\.?\d")  # noqa: SLF001  # argparse takes -1e-3 for an option
    _tokenizer(one)
    one = command(
        "detokenize", _detokenize, "turn action strings into actions", "rt2data detokenize 1 128 91 241 5 101 127 217"
    )
    one.add_argument("numbers", nargs="*", metavar="NUMBER", help="the action string; none: lines of stdin")
    _tokenizer(one)

    one = command(
        "tokenizer", _tokenizer_fit, "fit a tokenizer to a recipe's actions",
        "rt2data tokenizer fit quickstart --data-root out/sample --out out/fast",
    )  # fmt: skip
    one.add_argument("verb", choices=["fit"], metavar="fit")
    one.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that comes with rt2data")
    _data(one)
    one.add_argument("--out", type=_local, required=True, metavar="DIR", help="the folder for tokenizer.json")
    one.add_argument("--spec", default="fast", help="the tokenizer to fit (default fast)")
    one.add_argument("--horizon", type=_positive, metavar="H", help="steps of a chunk (default: the spec's)")
    one.add_argument("--vocabulary", type=_positive, default=1024, metavar="N", help="ids in all (default 1024)")
    return top


def _data(one: argparse.ArgumentParser) -> None:
    one.add_argument("--data-root", type=_place, metavar="DIR", help="the folder or URL that holds the datasets")
    one.add_argument(
        "--work", type=_place, metavar="DIR", help="the folder of indexes and intermediate files (default OUT.work)"
    )


def _tokenizer(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--tokenizer",
        default="rt2",
        metavar="SPEC",
        help="a bundled tokenizer, a file, or a built mixture (default rt2)",
    )
    one.add_argument("--source", metavar="NAME", help="the source whose bounds to use, where a mixture has several")


def _place(text: str) -> Any:
    from rt2data import storage

    try:
        return storage.place(text)
    except Rt2dataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _local(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a path of this machine, and copy from or to a store")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _sample(args: argparse.Namespace) -> None:
    from rt2data.demo import write_sample

    write_sample(args.dir, args.seed)
    print(args.dir)


def _plan(args: argparse.Namespace) -> None:
    from rt2data.pipeline import estimate, stages
    from rt2data.plan import forecast
    from rt2data.plan import text as plan_text
    from rt2data.recipes import recipe

    found = recipe.read(recipe.find(args.recipe))
    work = stages.work_folder((args.out or Path("out") / found.name).absolute(), args.work)
    made = estimate.make(found, args.data_root, work, index=args.index, check=args.check)
    if args.left_out:
        estimate.write_left_out(found, args.data_root, work, args.left_out)
    if args.json:
        needs = dataclasses.asdict(forecast.make(found, made, args.workers, args.out))
        print(json.dumps(made.to_dict() | {"forecast": needs}, indent=1))
    else:
        print(plan_text.plan_text(found, made, args.workers, args.out))


def _build(args: argparse.Namespace) -> None:
    print(f"rt2data {__version__}: building {args.recipe} into {args.out}", file=sys.stderr, flush=True)
    from rt2data.runners import workers

    # The worker processes of a local build import what they need while this one does.
    with contextlib.nullcontext() if args.beam else workers.Pool(args.workers):
        from rt2data.pipeline import build as flow

        flow.build(
            args.recipe,
            args.out,
            data_root=args.data_root,
            work=args.work,
            workers=args.workers,
            beam_options=args.beam,
            staged=args.staged,
        )
    print(args.out)


def _stats(args: argparse.Namespace) -> None:
    from rt2data.mixture import stats
    from rt2data.pipeline import dataset_stats

    found = dataset_stats.of(args.path, check=args.check)
    print(json.dumps(found, ensure_ascii=False) if args.json else stats.text(found))


def _inspect(args: argparse.Namespace) -> None:
    from rt2data.mixture import inspection

    for text in inspection.inspect(args.path, args.limit, args.json):
        print(text)


def _export(args: argparse.Namespace) -> None:
    from rt2data.mixture import export

    print(export.export(args.path, args.target, args.format, args.images).text())


def _verify(args: argparse.Namespace) -> int:
    from rt2data import verify

    found = verify.verify(args.path, data_root=args.data_root)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if args.json else found.text())
    return 0 if found.ok else 1


def _datasets(args: argparse.Namespace) -> int:
    from rt2data.cli import catalog
    from rt2data.declarations import declaration

    if len(args.words) > 1 + (args.words[:1] == ["check"]) or args.words == ["check"]:
        raise Rt2dataError("datasets", " ".join(args.words), "one NAME, or check NAME")
    if args.words[:1] == ["check"]:
        from rt2data.check import check

        report = check.check(declaration.find(args.words[1]), args.data_root, path=args.path, episodes=args.episodes)
        print(json.dumps(report.to_dict(), ensure_ascii=False) if args.json else report.text())
        return 0 if report.ok else 1
    if args.words:
        found = declaration.find(args.words[0])
        print(json.dumps(found.raw, indent=1, ensure_ascii=False) if args.json else catalog.page(found))
    else:
        every = sorted(declaration.declared().values(), key=lambda d: (d.kind, d.name))
        as_json = json.dumps([d.raw for d in every], indent=1, ensure_ascii=False) if args.json else ""
        layout = catalog.markdown if args.markdown else catalog.table
        print(as_json or layout(every, declaration.undeclared()))
    return 0


def _convert(args: argparse.Namespace) -> None:
    from rt2data.sources.robot import roboset_to_rlds

    print(roboset_to_rlds.roboset(args.source, args.target).text())


def _lines(args: argparse.Namespace) -> Any:
    if args.numbers:
        return [("arguments", " ".join(args.numbers))]
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="backslashreplace")  # what is no text is no number either: say so
    return ((f"stdin line {number}", line.rstrip("\r\n")) for number, line in enumerate(sys.stdin, 1))


def _load_tokenizer(args: argparse.Namespace) -> Any:
    from rt2data.tokenizer import ActionTokenizer

    tokenizer = ActionTokenizer.from_pretrained(args.tokenizer)
    source = args.source or (tokenizer.sources[0] if len(tokenizer.sources) == 1 else None)
    if source is None and tokenizer.sources:
        found = f"bounds for each of {', '.join(tokenizer.sources)}"
        raise Rt2dataError(args.tokenizer, found, "the name of one", "Give it with --source")
    return tokenizer.for_source(source) if source else tokenizer


def _tokenize(args: argparse.Namespace) -> None:
    tokenizer = _load_tokenizer(args)
    ends = [] if tokenizer.terminate is None else ["terminate"]
    names = [*ends, *(dim.name for dim in tokenizer.dims)]
    steps = f" for each of {tokenizer.horizon} steps" if tokenizer.horizon > 1 else ""
    expected = f"{len(names)} numbers{steps}: {' '.join(names)}" + ("; terminate is 0 or 1" if ends else "")
    for where, line in _lines(args):
        try:
            numbers = [float(word) for word in line.split()]
        except ValueError:
            raise Rt2dataError(where, f'"{line}"', expected) from None
        rows = [numbers[i : i + len(names)] for i in range(0, len(numbers), len(names))]
        flags = [row[0] for row in rows] if ends else []
        if len(numbers) != len(names) * tokenizer.horizon or any(flag not in (0, 1) for flag in flags):
            raise Rt2dataError(where, f'"{line}"', expected)
        actions, stops = [row[len(ends) :] for row in rows], [bool(flag) for flag in flags]
        if tokenizer.horizon == 1:
            print(tokenizer.format(tokenizer.encode(actions[0], stops[0] if ends else None)))
        else:
            print(tokenizer.format(tokenizer.encode(actions, stops if ends else None)))


def _detokenize(args: argparse.Namespace) -> None:
    tokenizer = _load_tokenizer(args)
    for where, line in _lines(args):
        try:
            action = tokenizer.decode(tokenizer.parse(line))
        except Rt2dataError as error:
            found, _, expected = str(error).rstrip(".").partition("; expected ")
            raise Rt2dataError(where, found, expected or "an action string") from None
        rows = action.actions.reshape(tokenizer.horizon, -1).tolist()
        flags = [] if action.terminate is None else action.terminate.reshape(-1).tolist()
        numbers = [[int(flag), *row] for flag, row in zip(flags, rows, strict=True)] if flags else rows
        print(*(f"{value:.9g}" for row in numbers for value in row))


def _tokenizer_fit(args: argparse.Namespace) -> None:
    from rt2data.pipeline import fit_tokenizer, stages
    from rt2data.recipes import recipe

    found = recipe.read(recipe.find(args.recipe))
    work = stages.work_folder((Path("out") / found.name).absolute(), args.work)
    fitted = fit_tokenizer.fit_recipe(
        found, args.data_root, work, spec=args.spec, horizon=args.horizon, vocabulary=args.vocabulary
    )
    fitted.save_pretrained(str(args.out))
    print(args.out)
