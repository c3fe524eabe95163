"""``python -m validation``: list the studies, run one or all of them, write the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

from rmtrnn._core import progress as _progress
from validation import core, data, dyson_error, gpu, initialisation
from validation.beyond import (
    eigenvalues,
    gated,
    lyapunov,
    memory,
    phase,
    quickstart,
    spectra,
    torch_jacobian,
    trained_gru,
)
from validation.core import places, report
from validation.hunt import runner
from validation.paper import (
    critical_initialisation,
    criticality,
    jacobian_spectra,
    language,
    learning_growth,
    mean_field_dynamics,
    trainability,
)

STUDIES = {
    own.STUDY.name: own.STUDY
    for own in (
        quickstart,
        spectra,
        dyson_error,
        eigenvalues,
        gated,
        mean_field_dynamics,
        critical_initialisation,
        criticality,
        jacobian_spectra,
        trainability,
        learning_growth,
        language,
        lyapunov,
        memory,
        phase,
        torch_jacobian,
        trained_gru,
        initialisation,
    )
}


COSTS = places.FIGURES / "costs.json"


def listing() -> str:
    """A table of the studies: how many cases are finished, what is committed, what each size costs."""
    measured = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    rows = []
    for own in STUDIES.values():
        for size in own.cost:
            cases = own.cases(size)
            found = {case.key: core.finished(own, size, case) for case in cases}
            done = {key: result for key, result in found.items() if result is not None}
            other = len(core.of_other_code(done))
            state = f"{len(done)} of {len(cases)}" + (f", {other} by other code" if other else "")
            state = state if not own.missing() else f"needs {', '.join(own.missing())}"
            cost = report.cost_words(measured[own.name][size]) if size in measured.get(own.name, {}) else ""
            rows.append([own.name, size, state, _kept(own, size), cost or own.cost[size], own.summary])
    header = ("study", "size", "finished here", "in paper_figures", "cost", "what it does")
    return core.table(header, rows)


def _kept(own: core.Study, size: str) -> str:
    """What lies in ``paper_figures`` of this study and size."""
    path = places.FIGURES / own.name / "claims.json"
    if not path.exists():
        return "-"
    record = json.loads(path.read_text())
    return f"yes, {len(record['claims'])} claims" if record["size"] == size else "-"


def record_costs() -> Path:
    """Write ``costs.json``: processor time of every study and size that is finished here, all cases of it."""
    measured = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    for own in STUDIES.values():
        for size in own.cost:
            results = {case.key: core.finished(own, size, case) for case in own.cases(size)}
            whole = {key: result for key, result in results.items() if result is not None}
            used = core.cpu_seconds(whole)
            if used is not None and len(whole) == len(results):
                made = {
                    "cases": len(whole),
                    "cpu seconds": round(used, 1),
                    "made with": core.describe(whole),
                }
                measured.setdefault(own.name, {})[size] = made
    COSTS.write_text(json.dumps(measured, indent=1, allow_nan=False) + "\n")
    return COSTS


def run_all(size: str, workers: core.Workers, options: argparse.Namespace) -> int:
    """Run every study at this size, or at the largest it has below, under one progress bar.

    A study that fails does not stop the rest. All figures and their report go to one folder, ``output``: by
    default ``build/figures/quick`` for the quick size, else `core.destination` of each. Returns the exit
    status: 1 if a study failed.
    """
    output = options.output
    if output is None and size == "quick":
        output = places.DRAFTS / size
    chosen = [own for own in STUDIES.values() if not own.missing()]
    for own in STUDIES.values():
        if own.missing():
            print(f"{own.name}: passed over; it needs {', '.join(own.missing())}", file=sys.stderr)
    sizes = {own.name: _size_at_most(own, size) for own in chosen}
    counts = [len(own.cases(sizes[own.name])) for own in chosen]
    bar, failed = _progress.ProgressBar(), []
    for position, own in enumerate(chosen):
        before = sum(counts[:position])

        def show(done: int, _: int, label: str, before: int = before) -> None:
            bar(before + done, sum(counts), label)

        folder = None if output is None else output / own.name
        try:
            core.run(
                own,
                sizes[own.name],
                workers,
                resume=options.resume,
                same_code=options.same_code,
                folder=folder,
                show=show,
            )
        except Exception as error:
            text = error if isinstance(error, data.DataError) else traceback.format_exc()
            print(f"\n{own.name} failed:\n{text}", file=sys.stderr)
            failed.append(own.name)
    print(f"\nreport: {report.write(output)}")
    if failed:
        print(f"failed: {', '.join(failed)}; the report shows what was saved of them before", file=sys.stderr)
    return 1 if failed else 0


def _size_at_most(own: core.Study, size: str) -> str:
    """The largest size of the study that is not above the one asked for; every study has "quick"."""
    return [s for s in core.SIZES[: core.SIZES.index(size) + 1] if s in own.cost][-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description="Theory against simulation. Without a name: list the studies with their state and cost. "
        "'hunt' (python -m validation hunt --help): random inputs against identities, for some minutes.",
    )
    parser.add_argument(
        "study", nargs="?", choices=[*sorted(STUDIES), "all"], help="the study to run, or all"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="small size (default)"
    )
    size.add_argument(
        "--standard",
        dest="size",
        action="store_const",
        const="standard",
        help="the size that is committed in paper_figures",
    )
    size.add_argument(
        "--full", dest="size", action="store_const", const="full", help="the paper's size, where it is known"
    )
    parser.add_argument("--resume", action="store_true", help="keep finished cases; compute what is missing")
    parser.add_argument(
        "--same-code", action="store_true", help="with --resume: only cases computed by the present code"
    )
    parser.add_argument(
        "--finished", action="store_true", help="of a long study: report on the finished cases, compute none"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--redraw", action="store_true", help="figures and claims from the saved data alone")
    parser.add_argument("--report", action="store_true", help="only write paper_figures/REPORT.md")
    parser.add_argument(
        "--record-costs", action="store_true", help="write the processor times of what is finished here"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        help="folder of the figures (default: paper_figures, or build/figures/SIZE for a size below the one "
        "that is committed)",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = {"gpu": gpu.main, "hunt": runner.main}
    if arguments and arguments[0] in commands:
        return commands[arguments[0]](arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.report:
        print(f"report: {report.write(options.output)}")
        return 0
    if options.record_costs:
        print(f"costs: {record_costs()}")
        return 0
    if options.study is None:
        print(listing())
        return 0
    if options.study == "all" and (options.only or options.redraw or options.finished):
        parser.error("--only, --redraw and --finished need one study")
    chosen = options.size or "quick"
    own = STUDIES.get(options.study)
    if own is not None and chosen not in own.cost:
        parser.error(f"--{chosen}: {own.name} has only the sizes {', '.join(own.cost)}")
    if options.finished and own is not None and (options.only or not own.long):
        parser.error("--finished needs a long study, all of it")
    if own is not None and own.missing() and not options.redraw:
        parser.error(f"{own.name} needs packages that are not installed: {', '.join(own.missing())}")
    try:
        with core.Workers(options.jobs) as workers:
            if own is None:
                return run_all(chosen, workers, options)
            return _run_one(own, chosen, workers, options)
    except KeyboardInterrupt:
        print("\ninterrupted; --resume continues after the last finished case", file=sys.stderr)
        return 130
    except data.DataError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run_one(own: core.Study, size: str, workers: core.Workers, options: argparse.Namespace) -> int:
    if options.redraw:
        folder = core.redraw(own, options.output)
    else:
        folder = core.run(
            own,
            size,
            workers,
            only=options.only,
            resume=options.resume,
            same_code=options.same_code,
            finished_only=options.finished,
            folder=options.output,
        )
    print(f"\nfigures, data and report: {folder}")
    if folder == places.DRAFTS / size / own.name:
        print(f"paper_figures is unchanged (--output paper_figures/{own.name} writes there)")
    if folder == places.FIGURES / own.name:
        print(f"report of all studies: {report.write()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
