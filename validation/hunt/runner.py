"""The hunt under a budget of minutes: a log, what is found made smaller and written out, a summary."""

from __future__ import annotations

import argparse
import collections
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import progress as _progress
from validation.core import places, provenance, writing
from validation.hunt import activations
from validation.hunt.cases import KINDS, Settings, answer, draw

FINDINGS = ("wrong", "exception", "slow")
_SHRINKS = 60  # answers looked at to make one finding smaller

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
    minutes: float, first: int = 0, folder: Path | None = None, kinds: tuple[str, ...] = (), show: Any = None
) -> dict[str, Any]:
    """Run cases until the minutes are over, after those that the log in ``folder`` already has.

    Returns the summary, and writes it beside the log with a script for every finding.
    """
    folder = folder or places.CHECKPOINTS / "hunt" / f"seed-{first}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done, index, end = len(records), 1 + max((one["index"] for one in records), default=-1), 60 * minutes
    start = time.monotonic()
    with log.open("a") as lines:
        while (used := time.monotonic() - start) < end:
            kind, seed = case_of(first, index)
            index += 1
            if kinds and kind not in kinds:
                continue
            if show is not None:
                show(used, end, f"{len(records)} cases, {kind} {seed}")
            one = _record(kind, draw(kind, seed)) | {"index": index - 1}
            records.append(one)
            lines.write(json.dumps(one) + "\n")
            lines.flush()
            if one["verdict"] in FINDINGS:
                write_script(folder, one)
    found = summary(records) | {"minutes of the last run": round(minutes, 1), "cases before it": done}
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "report.md").write_text(report(found, records))
    return found


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
    verdict, words = answer(record["kind"], small)
    text = _SCRIPT.format(kind=record["kind"], verdict=verdict, words=words, settings=small)
    path = folder / f"{record['kind'].replace(' ', '_')}_{record['settings']['seed']}.py"
    path.write_text(text)
    return path


def shrunk(kind: str, settings: Settings, verdict: str) -> Settings:
    """Settings that are simpler one by one: fewer steps, parameters of 0 or 1 or fewer digits, less of φ."""
    if verdict == "slow":
        return settings
    budget, changed = _SHRINKS, True
    while changed and budget:
        changed = False
        for candidate in _simpler(settings):
            if not budget:
                break
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
    parser.add_argument("--kinds", default="", help="only these, by comma: " + ", ".join(KINDS))
    parser.add_argument(
        "--output", type=Path, default=None, help="folder of the log (default: .cache/validation)"
    )
    options = parser.parse_args(arguments)
    kinds = tuple(kind.strip() for kind in options.kinds.split(",") if kind.strip())
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: {sorted(unknown)} are not among {', '.join(KINDS)}")
    found = hunt(options.minutes, options.seed, options.output, kinds, _progress.ProgressBar())
    print(f"\n{json.dumps({key: found[key] for key in ('cases', 'verdicts', 'by kind')}, indent=1)}")
    return int(any(name in found["verdicts"] for name in FINDINGS))
