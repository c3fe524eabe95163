"""``python -m validation``: list the studies, or run one."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from validation import quickstart, spectra, study

STUDIES = {own.STUDY.name: own.STUDY for own in (quickstart, spectra)}


def listing() -> str:
    """A table of the studies: how many cases are finished, and what each size costs."""
    rows = []
    for own in STUDIES.values():
        for size in own.cost:
            cases = own.cases(size)
            done = sum(study.finished(own, size, case) is not None for case in cases)
            rows.append([own.name, size, f"{done} of {len(cases)}", own.cost[size], own.summary])
    return study.table(("study", "size", "finished", "cost", "what it does"), rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description="Theory against simulation. Without a name: list the studies with their state and cost.",
    )
    parser.add_argument("study", nargs="?", choices=sorted(STUDIES), help="the study to run")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="small size (default)"
    )
    size.add_argument("--full", dest="size", action="store_const", const="full", help="full size")
    parser.add_argument("--resume", action="store_true", help="keep finished cases; compute what is missing")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--output", type=Path, default=None, help="folder (default paper_figures/STUDY)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    if options.study is None:
        print(listing())
        return 0
    own, chosen = STUDIES[options.study], options.size or "quick"
    if chosen not in own.cost:
        parser.error(f"--{chosen}: {own.name} has only the sizes {', '.join(own.cost)}")
    try:
        with study.Workers(options.jobs) as workers:
            folder = study.run(
                own, chosen, workers, only=options.only, resume=options.resume, folder=options.output
            )
    except KeyboardInterrupt:
        print("\ninterrupted; --resume continues after the last finished case", file=sys.stderr)
        return 130
    print(f"\nfigures, data and report: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
