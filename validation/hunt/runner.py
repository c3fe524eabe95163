"""The hunt under a budget of minutes: a log, what is found made smaller and written out, a summary."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import progress as _progress
from validation.core import places, provenance, writing
from validation.hunt import activations
from validation.hunt.cases import KINDS, Settings, answer, draw

FINDINGS = ("wrong", "exception", "slow")
_SHRINKS = 60  # answers looked at to make one finding smaller, while they take no longer than
_SHRINK_SECONDS = 30.0

_SCRIPT = '''"""A finding of the hunt: {kind}, {verdict}.

{words}
"""

from validation.hunt import answer

print(answer({kind!r}, {settings!r}))
'''


def case_of(first: int, index: int) -> tuple[str, int]:
    """Kind and seed of case ``index`` of the hunt that starts at the seed ``first``."""
    rng = np.random.default_rng([first, index, 16])
    kinds = list(KINDS)
    share = np.array([KINDS[kind].share for kind in kinds])
    return str(rng.choice(kinds, p=share / share.sum())), 1_000_000 * first + index


def hunt(
    minutes: float,
    first: int = 0,
    folder: Path | None = None,
    kinds: tuple[str, ...] = (),
    show: Any = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Run cases until the minutes are over, after those that the log in ``folder`` already has.

    With several ``workers``, processes, the log holds the same cases in another order. Returns the summary,
    and writes it beside the log with a script for every finding.
    """
    folder = folder or places.CHECKPOINTS / "hunt" / f"seed-{first}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done, end, start = len(records), 60 * minutes, time.monotonic()
    cases = _cases(first, kinds, {one["index"] for one in records})
    with log.open("a") as lines:
        for one in _answers(cases, lambda: time.monotonic() - start < end, workers):
            records.append(one)
            lines.write(json.dumps(one) + "\n")
            lines.flush()
            if show is not None:
                show(time.monotonic() - start, end, f"{len(records)} cases")
            if one["verdict"] in FINDINGS:
                write_script(folder, one)
    found = summary(records) | {"minutes of the last run": round(minutes, 1), "cases before it": done}
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "report.md").write_text(report(found, records))
    return found


def _cases(first: int, kinds: tuple[str, ...], done: set[int]) -> Iterator[tuple[int, str, int]]:
    """Index, kind and seed of the cases that are not done."""
    for index in itertools.count():
        kind, seed = case_of(first, index)
        if index not in done and (not kinds or kind in kinds):
            yield index, kind, seed


def _answers(
    cases: Iterator[tuple[int, str, int]], going: Callable[[], bool], workers: int
) -> Iterator[dict[str, Any]]:
    """Records as they come; none is begun once ``going`` is false."""
    if workers == 1:
        while going():
            yield _answered(next(cases))
        return
    # Forked where that is safe: a spawned process imports every study first.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = {pool.submit(_answered, next(cases)) for _ in range(workers)}
        while running:
            ready, running = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
            for one in ready:
                if going():
                    running.add(pool.submit(_answered, next(cases)))
                yield one.result()


def _answered(case: tuple[int, str, int]) -> dict[str, Any]:
    index, kind, seed = case
    return _record(kind, draw(kind, seed)) | {"index": index}


def _record(kind: str, settings: Settings) -> dict[str, Any]:
    start = time.process_time()
    verdict, words = answer(kind, settings)
    seconds = round(time.process_time() - start, 2)
    return {
        "kind": kind,
        "settings": settings,
        "verdict": verdict,
        "words": " ".join(words.split())[:400],
        "seconds": seconds,
    }


def write_script(folder: Path, record: dict[str, Any]) -> Path:
    """The finding as a script, with settings made smaller where it stays a finding of the same verdict."""
    small = shrunk(record["kind"], record["settings"], record["verdict"])
    slow = record["verdict"] == "slow"  # once is enough
    verdict, words = (record["verdict"], record["words"]) if slow else answer(record["kind"], small)
    text = _SCRIPT.format(kind=record["kind"], verdict=verdict, words=words, settings=small)
    path = folder / f"{record['kind'].replace(' ', '_')}_{record['settings']['seed']}.py"
    path.write_text(text)
    return path


def shrunk(kind: str, settings: Settings, verdict: str) -> Settings:
    """Settings that are simpler one by one: fewer steps, parameters of 0 or 1 or fewer digits, less of φ."""
    if verdict == "slow":
        return settings
    budget, changed, start = _SHRINKS, True, time.process_time()
    while changed and budget:
        changed = False
        for candidate in _simpler(settings):
            if not budget or time.process_time() - start > _SHRINK_SECONDS:
                return settings
            budget -= 1
            if answer(kind, candidate).verdict == verdict:
                settings, changed = candidate, True
                break
    return settings


def _simpler(settings: Settings) -> list[Settings]:
    """Settings one step simpler."""
    found = []
    for name, target in (
        ("T", 1),
        ("sigma_v", 0.0),
        ("mu_b", 0.0),
        ("sigma_b", 0.0),
        ("R", 1.0),
        ("Sigma", 0.0),
    ):
        if name in settings and settings[name] != target:
            found.append(settings | {name: target})
    if "activation" in settings:
        found += [settings | {"activation": one} for one in activations.simpler(settings["activation"])]
    for name, value in settings.items():
        if isinstance(value, float) and value != round(value, 1):
            found.append(settings | {name: round(value, 1)})
    return found


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts by kind and verdict; the share without a usable law among those that have a stationary state."""
    counts: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    for one in records:
        counts[one["kind"]][one["verdict"]] += 1
    verdicts = [one["verdict"] for one in records]
    laws = [
        v
        for one, v in zip(records, verdicts, strict=True)
        if one["kind"] in ("vanilla", "free", "gated", "tied")
    ]
    answered = [v for v in laws if v not in ("refused", "no state")]
    return {
        "cases": len(records),
        "cpu minutes": round(sum(one["seconds"] for one in records) / 60, 1),
        "verdicts": dict(collections.Counter(verdicts)),
        "by kind": {kind: dict(own) for kind, own in counts.items() if own},
        "share without a usable law": round(answered.count("unusable") / max(len(answered), 1), 4),
        "made with": provenance.provenance(),
    }


def report(found: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """The summary as a table, and every finding."""
    names = ("ok", "refused", "no state", "unusable", *FINDINGS)
    rows = [[kind, *(own.get(name, 0) for name in names)] for kind, own in found["by kind"].items()]
    findings = [
        [one["kind"], one["settings"]["seed"], one["verdict"], one["words"][:160]]
        for one in records
        if one["verdict"] in FINDINGS
    ]
    text = (
        f"# The hunt\n\n{found['cases']} cases, {found['cpu minutes']} CPU minutes. Share without a law "
        f"among the laws of networks with a stationary state: {found['share without a usable law']:.1%}.\n\n"
        f"{writing.table(('kind', *names), rows)}\n\n## Findings\n\n"
    )
    return (
        text + (writing.table(("kind", "seed", "verdict", "what"), findings) if findings else "None.") + "\n"
    )


def main(arguments: list[str]) -> int:
    """``python -m validation hunt``: exit status 1 if there are findings."""
    parser = argparse.ArgumentParser(
        prog="python -m validation hunt",
        description="Random inputs against identities and samples until the minutes are over. Goes on where "
        "the log of the same seed and folder ends.",
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="another seed: other cases")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    parser.add_argument("--kinds", default="", help="only these, by comma: " + ", ".join(KINDS))
    parser.add_argument(
        "--output", type=Path, default=None, help="folder of the log (default: .cache/validation)"
    )
    options = parser.parse_args(arguments)
    kinds = tuple(kind.strip() for kind in options.kinds.split(",") if kind.strip())
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: {sorted(unknown)} are not among {', '.join(KINDS)}")
    if options.workers < 1:
        parser.error(f"--workers {options.workers}: must be at least 1")
    bar = _progress.ProgressBar()
    found = hunt(options.minutes, options.seed, options.output, kinds, bar, options.workers)
    print(f"\n{json.dumps({key: found[key] for key in ('cases', 'verdicts', 'by kind')}, indent=1)}")
    return int(any(name in found["verdicts"] for name in FINDINGS))
