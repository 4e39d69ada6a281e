"""What the commands do: arguments in, one library call, its result printed, an exit code out."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .messages import say

if TYPE_CHECKING:
    from gradiometer.audit.plan import Plan
    from gradiometer.audit.schema import Result

BANNER = """\
################################################################################
# --gallery full: the report will show PRIVATE EXAMPLES UNBLURRED.             #
# Treat the run folder like the data themselves.                               #
################################################################################"""


def run(arguments: Namespace) -> int:
    """Runs the command that was parsed."""
    commands = {"scan": scan, "audit": audit, "report": report, "compare": compare, "list": catalogue, "init": init}
    commands |= {"train": train, "prior": prior}
    return commands[arguments.command](arguments)


def scan(arguments: Namespace) -> int:
    from gradiometer.audit import scan_plan

    given = {"attacks": arguments.attack, "defenses": arguments.defense, "threat": arguments.threat}
    given |= {"seed": arguments.seed, "model": arguments.model}
    plan = scan_plan(arguments.target, **{name: value for name, value in given.items() if value is not None})
    return _run(changed(plan, arguments, ()), arguments)


def audit(arguments: Namespace) -> int:
    from gradiometer.audit import load_plan

    plan = changed(load_plan(arguments.plan), arguments, ("attack", "defense", "threat", "seed"))
    return _run(plan, arguments, ray=arguments.ray)


def train(arguments: Namespace) -> int:
    """3: a training stopped before its last round."""
    from .train import run

    return run(arguments)


def prior(arguments: Namespace) -> int:
    from .prior import run

    return run(arguments)


def report(arguments: Namespace) -> int:
    from gradiometer.report import load_result

    output = arguments.output
    if output is None and arguments.format == "html":
        run = Path(arguments.run)
        output = str((run if run.is_dir() else run.parent) / "report.html")
    _write(_rendered(load_result(arguments.run), arguments.format), output)
    return 0


def compare(arguments: Namespace) -> int:
    """1: a regression at or above --fail-on; 3: nothing got worse, but something cannot be told any more."""
    from gradiometer.report import compare, load_result, render_comparison
    from gradiometer.report.words import at_least

    comparison = compare(load_result(arguments.before), load_result(arguments.after))
    _write(render_comparison(comparison, arguments.format), arguments.output)
    if any(at_least(change.severity, arguments.fail_on) for change in comparison.of("regression")):
        return 1
    return 3 if comparison.of("lost") or comparison.unlike else 0


def catalogue(arguments: Namespace) -> int:
    from .catalogue import write

    _write(write(arguments.kind, arguments.format), None)
    return 0


def init(arguments: Namespace) -> int:
    """Writes into a folder that holds none of the files yet.

    Raises:
        BadInput: there is one, or it cannot be written.
    """
    from gradiometer.audit import init_files
    from gradiometer.core import BadInput

    folder = Path(arguments.folder)
    files = {folder / name: text for name, text in init_files(text=arguments.text, graphs=arguments.graphs).items()}
    for path in files:
        if path.exists():
            raise BadInput(f"{path}: there is one already, and it is not overwritten", fix="name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        _write(text, str(path))
    where = "" if arguments.folder == "." else f"cd {shlex.quote(arguments.folder)} && "
    say(f"next: {where}gradiometer audit plan.toml")
    return 0


def exit_code(result: Result, fail_on: str) -> int:
    """1 where a finding reaches `fail_on`; 3 where there is none, but not everything is decided; otherwise 0."""
    from gradiometer.report.words import at_least

    if any(at_least(finding.severity, fail_on) for finding in result.findings):
        return 1
    return 3 if result.verdict == "INCONCLUSIVE" or not result.complete else 0


def _run(plan: Plan, arguments: Namespace, *, ray: str | None = None) -> int:
    """The plan is computed, its report written, its result printed."""
    from gradiometer.audit import run_audit, run_folder

    from .dry import dry_run
    from .live import progress

    if arguments.dry_run:
        _write(dry_run(plan), None)
        return 0
    folder = Path(arguments.output or run_folder(plan))
    if plan.audit.gallery == "full":
        say(BANNER)
    if not arguments.quiet:
        say(f"run folder: {folder}")
    with progress(quiet=arguments.quiet, verbose=arguments.verbose) as watch:
        result = run_audit(plan, folder, ray=ray, progress=watch, command=_command())
    page = folder / "report.html"
    _write(_rendered(result, "html"), str(page), quiet=True)
    _write(_rendered(result, arguments.format), None)
    if arguments.format == "terminal":
        _write(f"Report: {page}\n", None)
    else:
        say(f"Report: {page}")
    return exit_code(result, plan.audit.fail_on)


def changed(plan: Plan, arguments: Namespace, tables: tuple[str, ...]) -> Plan:
    """The plan with what the command line says instead: of `tables`, and of the settings of the audit.

    Raises:
        BadConfig: with all faults.
    """
    from gradiometer.audit import make_plan

    document: dict[str, Any] = plan.model_dump(mode="json")
    settings = ("budget", "device", "jobs", "fail_on", "gallery")
    top = {name: value for name in tables if (value := getattr(arguments, name)) is not None}
    below = {name: value for name in settings if (value := getattr(arguments, name)) is not None}
    if not top and not below:
        return plan
    return make_plan(document | top | {"audit": document["audit"] | below}, source="command line")


def _rendered(result: Result, format: str) -> str:
    from gradiometer.report import render

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    return render(result, format, width=width, color=color)


def _write(text: str, output: str | None, *, quiet: bool = False) -> None:
    """To standard output, or to a file: whole or not at all."""
    if output is None or output == "-":
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            # Whoever read it has seen enough. The exit code still tells the verdict; nothing more is written, ever.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    path = Path(output)
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        error.filename = str(path)  # a full disk does not say whose
        raise
    if not quiet:
        print(output, flush=True)


def _command() -> str:
    return shlex.join(["gradiometer", *sys.argv[1:]])
