"""The commands and their options: from words to what a command does, and what it prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import parity
from parity.arguments import byte_count, number, output_file, split, stages, subject, trace_file
from parity.config import merged, read_config
from parity.errors import Exit, ParityError, UsageError
from parity.options import Options, Request

if TYPE_CHECKING:
    from parity.document import Comparison

_EXITS = {"match": Exit.MATCH, "diverged": Exit.DIVERGED, "inconclusive": Exit.INCONCLUSIVE}

Task = Callable[[], int]
"""What a parsed command does; returns the exit code."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(parity.__version__, prog_name="parity")
def command() -> None:
    """Compares a training script with its migration to another framework.

    Exit codes: 0 match, 1 diverged, 2 error, 3 inconclusive, 130 interrupted.
    """


_every = click.option(
    "--all", "every", is_flag=True, help="List all declared values of both sides, also those that do not differ."
)
_formatted = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="On stdout.")


def _running(function: F) -> F:
    """The options that say how scripts are run and what is printed."""
    for option in (
        click.option("--max-disk", metavar="SIZE", help="Stop before traces take more than this, such as 500M or 20G."),
        _formatted,
        click.option("--timeout", type=float, default=600.0, show_default=True, help="Seconds for each script."),
        click.option("--steps", type=click.IntRange(min=1), default=3, show_default=True, help="Training steps."),
    ):
        function = option(function)
    return function


def _judging(function: F) -> F:
    """The options that say how a comparison is judged."""
    for option in (
        click.option("--atol", type=float, help="Judge the local error by allclose; with --rtol."),
        click.option("--rtol", type=float, help="Judge the local error by allclose; with --atol."),
        click.option("--strict", is_flag=True, help="Make warnings faults."),
        click.option("--skip", metavar="STAGE,...", default="", help="Leave these stages out."),
        click.option("--only", metavar="STAGE,...", default="", help="Judge these stages and no others."),
    ):
        function = option(function)
    return function


def _options(given: dict[str, Any], **more: Any) -> Options:
    """The options that judge.

    Raises:
        UsageError: One of them says something that it cannot say.
    """
    rtol, atol = _tolerance(given)
    return Options(
        only=stages("--only", given["only"]),
        skip=stages("--skip", given["skip"]),
        strict=given["strict"],
        rtol=rtol,
        atol=atol,
        **more,
    )


def _tolerance(given: dict[str, Any]) -> tuple[float | None, float | None]:
    """`--rtol` and `--atol`, which make sense only together."""
    if (given["rtol"] is None) != (given["atol"] is None):
        raise UsageError("--rtol and --atol are given together or not at all", hint="add the other, for example 0")
    return number("--rtol", given["rtol"]), number("--atol", given["atol"])


@command.command("compare", short_help="Compare two scripts, two traces, or one of each.")
@click.argument("reference")
@click.argument("candidate")
@click.option("-o", "outputs", multiple=True, metavar="FILE", help="Write a report (.json); may be repeated.")
@_running
@click.option("--keep", metavar="DIR", help="Keep traces and comparison here instead of in the cache.")
@_judging
@click.option("--train", type=click.IntRange(min=2), metavar="N", help="Train N steps; compare the losses, too.")
@click.option("--fresh", is_flag=True, help="Run the reference again even if nothing changed.")
@click.option("--summary", is_flag=True, help="A first look by statistics only; never says match.")
@click.option("--free", is_flag=True, help="Let the candidate keep its own weights and batches.")
@click.option(
    "--data-batches",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Batches of each loader that are read alone after the captured steps.",
)
@click.option("--reference-python", metavar="PYTHON", help="Interpreter of the reference.")
@click.option("--candidate-python", metavar="PYTHON", help="Interpreter of the candidate.")
@click.option("--reference-cwd", metavar="DIR", help="Folder to run the reference in.")
@click.option("--candidate-cwd", metavar="DIR", help="Folder to run the candidate in.")
@click.option("--reference-args", metavar='"..."', default="", help="Arguments of the reference alone.")
@click.option("--candidate-args", metavar='"..."', default="", help="Arguments of the candidate alone.")
@click.option("-v", "--verbose", is_flag=True, help="Show progress and where the time went.")
@_every
@click.pass_obj
def compare(script_args: list[str], /, **given: Any) -> Task:
    """Compare REFERENCE with CANDIDATE: training scripts (.py) or traces (.trace).

    What stands after -- goes to both scripts. Options may also stand in a parity.toml beside the candidate.
    """
    config = read_config(Path(given["candidate"]))
    given = merged(given, _explicit(), config, Path(given["candidate"]).parent)
    options = _options(
        given,
        free=given["free"],
        summary=given["summary"],
        steps=given["steps"],
        ignored=tuple(config.ignore),
        accepted=tuple(config.accept),
        train=given["train"] or 0,
        data_batches=given["data_batches"],
    )
    sides = {
        side: subject(
            side,
            given[side],
            given[f"{side}_python"],
            given[f"{side}_cwd"],
            (*script_args, *split(f"--{side}-args", given[f"{side}_args"])),
        )
        for side in ("reference", "candidate")
    }
    timeout = number("--timeout", given["timeout"], positive=True)
    keep = Path(given["keep"]) if given["keep"] else None
    request = Request(
        sides["reference"], sides["candidate"], options, timeout, keep, given["fresh"],
        byte_count("--max-disk", given["max_disk"]), tuple(config.pin),
    )  # fmt: skip
    outputs = [output_file(name) for name in given["outputs"]]
    return lambda: _compare(request, outputs, given["form"], given["verbose"], given["every"])


def _explicit() -> set[str]:
    """The parameters that stand on the command line."""
    context = click.get_current_context()
    source = click.core.ParameterSource
    return {name for name in context.params if context.get_parameter_source(name) is source.COMMANDLINE}


def _compare(request: Request, outputs: list[Path], form: str, verbose: bool, every: bool) -> int:
    from parity.console import Console
    from parity.pipeline import Unfinished, compare_scripts
    from parity.report.json import document, dumps

    console = Console(verbose)
    try:
        comparison, folder = compare_scripts(request, console)
    except Unfinished as error:
        if error.comparison is not None:
            _write_reports(outputs, error.comparison)
            if form == "text":
                _print_text(error.comparison)
        if any(error.folder.glob("*.trace*")):
            console.say(f"what was captured is kept in {error.folder}")
        raise
    _write_reports(outputs, comparison)
    if comparison.verdict != "match":
        console.say(f"traces and comparison are kept in {folder}")
    if verbose:
        timings = comparison.details["timings"]
        console.say("seconds: " + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in timings.items()))
    if form == "json":
        show(dumps(document(comparison)))
    else:
        _print_text(comparison, every)
    return _EXITS.get(comparison.verdict, Exit.ERROR)


@command.command("capture", short_help="Record one script's training as a trace.")
@click.argument("script")
@click.option("-o", "output", required=True, metavar="NAME.trace", help="The trace to write.")
@_running
@click.option("--python", metavar="PYTHON", help="Interpreter to run it in.")
@click.option("--cwd", metavar="DIR", help="Folder to run it in.")
@click.option("--sync", metavar="REF.trace", help="Start from that reference's weights and give its batches.")
@click.option("--no-noise", is_flag=True, help="Leave out the passes that measure a reference's rounding.")
@click.option("--summary", is_flag=True, help="Record statistics instead of tensors: a first look.")
@click.pass_obj
def capture(script_args: list[str], /, **given: Any) -> Task:
    """Record SCRIPT's training as a trace. What stands after -- goes to the script."""
    side = "candidate" if given["sync"] else "reference"
    script = subject(side, given["script"], given["python"], given["cwd"], tuple(script_args), script_only=True)
    timeout = number("--timeout", given["timeout"], positive=True)
    output = trace_file(given["output"])
    limit = byte_count("--max-disk", given["max_disk"])
    sync = Path(given["sync"]) if given["sync"] else None

    def run() -> int:
        from parity.capture.launch import capture as launch
        from parity.console import Console
        from parity.report.json import dumps
        from parity.report.terminal import safe
        from parity.trace import Trace

        if sync is not None:
            Trace(sync)  # a trace that cannot be read is told before a script runs
        with _kept(output):
            path = launch(
            script.path, output, side=side, args=script.args, steps=given["steps"], timeout=timeout,
            python=script.python, cwd=script.cwd, log=Console().forward, sync=sync,
            limit=limit, summary=given["summary"], noise=sync is None and not (given["no_noise"] or given["summary"]),
        )  # fmt: skip
        trace = Trace(path)
        meta = trace.meta
        facts = {
            "schema": 1, "trace": str(output), "framework": meta.framework, "version": meta.version,
            "python": meta.python, "steps": meta.steps, "layers": len(trace.layers),
            "parameters": sum(not p.buffer for p in trace.parameters), "notes": meta.notes,
        }  # fmt: skip
        if given["form"] == "json":
            show(dumps(facts))
        else:
            text = "{trace}: {framework} {version}, {steps} steps, {layers} layers, {parameters} parameters"
            show("\n".join(map(safe, (text.format_map(facts), *meta.notes))) + "\n")
        return Exit.MATCH

    return run


@contextmanager
def _kept(output: Path) -> Iterator[None]:
    """Says where a trace lies that an error or an interrupt has ended."""
    partial = Path(os.path.abspath(output)).with_name(f"{output.name}.partial")
    try:
        yield
    except ParityError:
        from parity.console import Console

        if partial.is_dir():
            Console().say(f"what was captured is kept in {partial}")
        raise
    except KeyboardInterrupt as interrupt:
        if partial.is_dir():
            interrupt.folder = partial  # type: ignore[attr-defined]
        raise


@command.command("report", short_help="Print a kept comparison again.")
@click.argument("saved")
@click.option("-o", "outputs", multiple=True, metavar="FILE", help="Write a report (.json); may be repeated.")
@_formatted
@_every
@_judging
def report(**given: Any) -> Task:
    """Print the comparison that is kept in SAVED (the folder of --keep, or a comparison.json), without running it.

    With options that judge, its traces are judged anew.
    """
    saved, options = Path(given["saved"]), _options(given)
    outputs = [output_file(name) for name in given["outputs"]]

    def run() -> int:
        from parity.report.json import document, dumps
        from parity.saved import judge_again, read_saved

        comparison = read_saved(saved)
        if options != Options():
            comparison = judge_again(saved, options)
        _write_reports(outputs, comparison)
        if given["form"] == "json":
            show(dumps(document(comparison)))
        else:
            _print_text(comparison, given["every"])
        return _EXITS.get(comparison.verdict, Exit.ERROR)

    return run


@command.command("doctor", short_help="Interpreters, frameworks, versions, and whether they work.")
@click.option("--python", "pythons", multiple=True, metavar="PYTHON", help="Another interpreter; may be repeated.")
@_formatted
def doctor(pythons: tuple[str, ...], form: str) -> Task:
    """List interpreters, their frameworks and what is supported, and capture one layer with each.

    Exit codes: 0 every framework that is installed works, 2 one does not, or there is none.
    """

    def run() -> int:
        from parity.doctor import examine
        from parity.doctor import report as print_report

        return print_report(examine(pythons), form, show)

    return run


@command.command("data", short_help="Compare two folders of arrays.")
@click.argument("reference")
@click.argument("candidate")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="On stdout.")
@click.option("-o", "outputs", multiple=True, metavar="FILE", help="Write a report (.json); may be repeated.")
@click.option("--rtol", type=float, help="Judge by allclose; with --atol.")
@click.option("--atol", type=float, help="Judge by allclose; with --rtol.")
def data(**given: Any) -> Task:
    """Compare two folders of .npy and .npz files, and say how arrays differ. Nothing is ever unpickled."""
    rtol, atol = _tolerance(given)
    outputs = [output_file(name) for name in given["outputs"]]

    def run() -> int:
        from parity.data.compare_folders import Tolerance, compare_folders
        from parity.report.json import document, dumps

        tolerance = Tolerance(rtol, atol) if rtol is not None and atol is not None else None
        comparison = compare_folders(Path(given["reference"]), Path(given["candidate"]), tolerance)
        _write_reports(outputs, comparison)
        if given["form"] == "json":
            show(dumps(document(comparison)))
        else:
            _print_text(comparison)
        return _EXITS[comparison.verdict]

    return run


@command.command("explain", short_help="What an API is in the other framework.")
@click.argument("name")
@_formatted
def explain(name: str, form: str) -> Task:
    """Print what NAME is in the other framework: arguments, defaults, initial values, behaviour, a translation.

    NAME is a full name of either framework (torch.nn.Conv2d, mindspore.ops.softmax) or its end (Conv2d).
    """

    def run() -> int:
        from parity.tables import explain as explain_name

        return explain_name(name, form, show)

    return run


@command.group("mappings")
def mappings() -> None:
    """The tables of what an API of one framework is in the other."""


@mappings.command("check", short_help="Prove the tables against the installed frameworks.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--family", "families", multiple=True, metavar="FAMILY", help="Only this file; may be repeated.")
@click.option("--signatures", is_flag=True, help="Compare names and defaults only; run nothing.")
@_formatted
def check_mappings(names: tuple[str, ...], families: tuple[str, ...], signatures: bool, form: str) -> Task:
    """Prove the tables against the installed frameworks, and print what is not as they say.

    Exit codes: 0 all hold, 1 something has changed, 2 error.
    """

    def run() -> int:
        from parity.console import Console
        from parity.tables import check_tables

        return check_tables(families, names, not signatures, form, show, Console().say)

    return run


def _write_reports(outputs: list[Path], comparison: Comparison) -> None:
    from parity.report.json import document, dumps

    for path in outputs:
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(dumps(document(comparison)), encoding="utf-8")
        os.replace(beside, path)


def _print_text(comparison: Comparison, every: bool = False) -> None:
    from rich.text import Text

    from parity.report.declared import render_declared
    from parity.report.terminal import render

    text = render(comparison)
    if every:
        text = Text("\n\n").join([text, render_declared(comparison)])
    if sys.stdout is not None and sys.stdout.isatty():
        from rich.console import Console as Terminal

        Terminal(file=sys.stdout, highlight=False).print(text, soft_wrap=True)
        sys.stdout.flush()
    else:
        show(text.plain + "\n")


def show(text: str) -> None:
    """Prints a text, where there is a standard output."""
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()
