"""The command line: ``rmtrnn --help``.

Exit status: 0, or 1 if something did not converge (what was found is printed, marked as such), 2 for bad
input, 130 if interrupted. Results go to standard output, progress and messages to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from rmtrnn.cli import meaning
from rmtrnn.cli.options import ENSEMBLE, UsageError, add_options, settings


class Command(NamedTuple):
    """One command: what it says, which options it takes, an example."""

    summary: str
    options: tuple[str, ...]
    example: str


COMMANDS = {
    "spectrum": Command(
        "the distribution of the singular values of the T-step Jacobian",
        (*ENSEMBLE, "T", "Q0", "method", "population", "tol", "points", "save", "plot"),
        "rmtrnn spectrum vanilla --sigma-w 1.05 --sigma-b 0.05 --weights orthogonal --T 8 --plot law.png",
    ),
    "mean-field": Command(
        "stationary variances, correlations and time scale",
        (*ENSEMBLE, "steps", "Q0", "C0", "sites", "save", "plot"),
        "rmtrnn mean-field minimal --sigma-w 6.88 --sigma-v 1.39 --mu-b 2 --R 0.46 --Sigma 1",
    ),
    "phase": Command(
        "mean field on a grid of two or more parameters",
        (*ENSEMBLE, "quantity", "jobs", "save", "plot"),
        "rmtrnn phase minimal --sigma-w 1:8:40 --mu-b -4:8:40 --sigma-v 1 --R 0.46 --plot phases.png",
    ),
    "critical": Command(
        "an initialisation at which the mean squared singular value neither grows nor decays",
        (*ENSEMBLE, "T", "q", "band", "free", "spectrum", "save", "plot"),
        "rmtrnn critical lstm --T 200 --sigma-v 0.5 --json",
    ),
    "initialize": Command(
        "the initialisation whose state feels the inputs of the last T steps best; parameters given are kept",
        ("cell", "activation", "peephole", "reset_after", "sigma_w", "sigma_v", "mu_b", "sigma_b", "R",
         "weights", "tied", "T", "N", "torch", "save", "plot"),
        "rmtrnn initialize gru --T 500 --torch",
    ),
    "sample": Command(
        "singular values of sampled networks",
        (*ENSEMBLE, "T", "Q0", "N", "trials", "seed", "device", "dtype", "burn_in", "checkpoint", "jobs",
         "compare", "save", "plot"),
        "rmtrnn sample gru --sigma-w 1.2 --sigma-v 0.5 --T 4 --N 256 --trials 4 --compare",
    ),
}  # fmt: skip
REPRODUCE = Command(
    "run the studies that made the figures (from a checkout)", (), "rmtrnn reproduce quickstart --quick"
)


SHELLS = ("bash", "zsh", "tcsh")


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("\n", " "))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--traceback" in given
    given = [word for word in given if word != "--traceback"]
    try:
        return _run(given)
    except KeyboardInterrupt:
        print("rmtrnn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        status = _status_of(error)
        if debug or status is None:
            raise
        print(f"rmtrnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return status


def _status_of(error: Exception) -> int | None:
    """1 for a number that could not be found, 2 for bad input, None for what is a fault of ours."""
    from rmtrnn import ConvergenceError

    if isinstance(error, ConvergenceError):
        return 1
    return 2 if isinstance(error, ValueError | TypeError | OSError | RuntimeError | ImportError) else None


def _run(given: list[str]) -> int:
    if given[:1] == ["reproduce"] and not {"-h", "--help"} & set(given):
        from rmtrnn.cli.commands import reproduce

        return reproduce(given[1:])
    _check_command(given[:1])
    parser = _parser()
    options, unknown = parser.parse_known_args(_joined(given))
    if options.command is None:
        parser.print_help()
        return 2
    if options.command == "completion":
        if unknown:
            raise UsageError(f"unknown argument {unknown[0]!a}")
        print(_completion(parser, options.shell))
        return 0
    command = COMMANDS[options.command]
    if unknown:
        flags = ["--" + name.replace("_", "-") for name in (*command.options, "config", "json", "quiet")]
        hint = meaning.meant(unknown[0].split("=")[0], flags, meaning.OPTIONS)
        raise UsageError(f"unknown argument {unknown[0]!a}{hint}")
    chosen = settings(options, command.options)
    picture, kept = chosen.pop("plot", None), chosen.pop("save", None)
    if picture is not None:
        _check_name("plot", picture, (".png", ".pdf", ".svg"))
    if kept is not None:
        _check_name("save", kept, (".npz",))
    outcome = _compute(options.command, chosen, progress=None if options.quiet else True)
    _print(outcome, options.json)
    if kept is not None:
        outcome.save(kept)
    if picture is not None:
        _draw(outcome, picture)
    if outcome.problem:
        print(f"rmtrnn: not converged: {outcome.problem}", file=sys.stderr)
        return 1
    return 0


def _check_command(given: list[str]) -> None:
    """Refuse a first word that is neither a command nor an option, with the command that may be meant."""
    names = (*COMMANDS, "reproduce", "completion")
    for word in given:
        if word not in names and not word.startswith("-"):
            hint = meaning.meant(word, names, meaning.COMMANDS)
            raise UsageError(f"invalid choice of command: {word!a}{hint}; there are {', '.join(names)}")


def _joined(given: list[str]) -> list[str]:
    """``--mu-b -4:8:60`` as ``--mu-b=-4:8:60``, which argparse would take for a flag."""
    words: list[str] = []
    for word in given:
        follows_flag = bool(words) and words[-1].startswith("--") and "=" not in words[-1]
        if follows_flag and len(word) > 1 and word[0] == "-" and (word[1].isdigit() or word[1] == "."):
            words[-1] += "=" + word
        else:
            words.append(word)
    return words


def _compute(name: str, chosen: dict[str, Any], progress: Any) -> Any:
    from rmtrnn.cli import commands

    return getattr(commands, name.replace("-", "_"))(chosen, progress)


def _print(outcome: Any, as_document: bool) -> None:
    from rmtrnn.cli.output import as_json, as_table

    if as_document:
        print(as_json(outcome.record))
    else:
        print(outcome.text if isinstance(outcome.text, str) else as_table(outcome.text))
    sys.stdout.flush()


def _check_name(option: str, path: str, endings: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written before an hour of work, not after."""
    if Path(path).suffix.lower() not in endings:
        raise UsageError(f"--{option} {path!a}: the name must end in {' or '.join(endings)}")
    if not Path(path).resolve().parent.is_dir():
        raise UsageError(f"--{option} {path!a}: there is no such folder")


def _draw(outcome: Any, path: str) -> None:
    if outcome.draw is None:
        raise UsageError("--plot: there is no picture of this result; --spectrum computes what it shows")
    import matplotlib

    matplotlib.use("Agg")  # no window, and none needed
    import matplotlib.pyplot as plt

    from rmtrnn import plotting

    with plotting.style():
        figure, ax = plt.subplots()
        outcome.draw(ax)
        figure.savefig(path)
        plt.close(figure)


def _parser() -> _Parser:
    import rmtrnn

    parser = _Parser(
        prog="rmtrnn",
        description="Random-matrix theory of recurrent networks. `rmtrnn COMMAND --help` says more.",
        epilog="exit status: 0; 1 not converged; 2 bad input; 130 interrupted\n\nexamples:\n"
        + "\n".join(f"  {command.example}" for command in (*COMMANDS.values(), REPRODUCE)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rmtrnn {rmtrnn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in (*COMMANDS.items(), ("reproduce", REPRODUCE)):
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=f"{name}: {command.summary}.",
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == "reproduce":
            sub.add_argument(
                "arguments", nargs="*", help="study, --quick, --full, --resume, ...; none: list them"
            )
            continue
        output = add_options(sub, command.options, name)
        output.add_argument("--json", action="store_true", help="print one JSON document")
        output.add_argument("--quiet", action="store_true", help="no progress on standard error")
        output.add_argument("--traceback", action="store_true", help="show where an error came from")
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options with the tab key",
        description="completion: print a script for a shell. It needs shtab (the extra `completion`).",
        epilog='example:\n  eval "$(rmtrnn completion bash)"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _completion(parser: _Parser, shell: str) -> str:
    """The script by which ``shell`` completes what ``parser`` reads; ImportError without shtab."""
    try:
        import shtab
    except ImportError:
        raise ImportError("completion needs shtab; install it: pip install shtab") from None
    return shtab.complete(parser, shell)
