"""``paper_figures/REPORT.md``: every claim of the paper beside what the saved results say of it.

Put together from the ``claims.json`` files alone (`validation.study.save_claims`): nothing is computed here
and no result is typed in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from validation.core import places
from validation.core.model import Verdict
from validation.core.writing import table

# What the paper contains, as far as it is known here. A claim belongs to the item its name begins with.
ITEMS = {
    "Fig. 1": "correlation dynamics of the minimalRNN",
    "Mean field": "evolution of q and c, correlation map, time scales, phase diagrams",
    "Fig. 2": "trainability against the time scale",
    "Fig. 3": "learning dynamics at and off criticality",
    "Spectra": "singular values of the Jacobian over T steps",
    "Critical initialisation": "closed form, published values, isometry",
    "Table (language model)": "perplexity at equal budgets",
    "Abstract": "the claims of the abstract",
}

_HEAD = """# What the paper says and what was found

The paper is arXiv:1806.05394 (ICML 2018, PMLR 80:873–882). Its full text was not at hand; what its claims,
figures and parameters are is taken from the abstract, the figures, and statements of others, and where a
detail is unknown the study says what it chose. Every number below was written by the run named with it
(`claims.json` in each folder); verdicts follow from the numbers by the rule stated beside them.
"""


def collect(root: Path) -> list[dict[str, Any]]:
    """The saved claims of all studies, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(root.glob("*/claims.json"))]


def write(root: Path | None = None) -> Path:
    """Write ``REPORT.md`` into ``root`` (default ``paper_figures``) from the claims that lie there."""
    root = places.FIGURES if root is None else root
    root.mkdir(parents=True, exist_ok=True)
    path = root / "REPORT.md"
    path.write_text(render(collect(root)) + _costs(root))
    return path


def render(records: list[dict[str, Any]]) -> str:
    """The report as Markdown."""
    parts = [_HEAD, "## Verdicts\n", _summary(records)]
    for title in _titles(records):
        own = [(record, claim) for record, claim in _claims(records) if _item(claim["item"]) == title]
        parts += [f"## {title}: {ITEMS[title]}\n" if title in ITEMS else f"## {title}\n"]
        parts += [_claim(record, claim) for record, claim in own]
        if not own:
            parts.append("No study with a saved result speaks to this.\n")
    parts += ["## How each was made\n", *(_made(record) for record in records)]
    return "\n".join(parts)


def _claims(records: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(record, claim) for record in records for claim in record["claims"]]


def _item(name: str) -> str:
    return next((item for item in ITEMS if name.startswith(item)), name)


def _titles(records: list[dict[str, Any]]) -> list[str]:
    others = {_item(claim["item"]) for _, claim in _claims(records)} - set(ITEMS)
    return [*ITEMS, *sorted(others)]


def _summary(records: list[dict[str, Any]]) -> str:
    rows = []
    for title in _titles(records):
        own = [claim for _, claim in _claims(records) if _item(claim["item"]) == title]
        counts = [sum(claim["verdict"] == verdict for claim in own) for verdict in Verdict]
        rows.append([f"{title}: {ITEMS[title]}" if title in ITEMS else title, *(n or "" for n in counts)])
    return table(("", *Verdict), rows) + "\n"


def _claim(record: dict[str, Any], claim: dict[str, Any]) -> str:
    folder = record["study"]
    where = claim["item"].removeprefix(_item(claim["item"])).strip(" ,:")
    pictures = "\n".join(
        f"![{folder}: {name}]({folder}/{name}.png)\n([PDF]({folder}/{name}.pdf))\n"
        for name in claim["figures"]
    )
    return (
        f"**{where + ': ' if where else ''}{claim['claim']}**\n\n"
        f"- verdict: **{claim['verdict']}**\n"
        f"- numbers: {claim['numbers']}\n"
        f"- rule: {claim['reason']}\n"
        f"- study: [{folder}](#{folder}), size {record['size']}\n\n{pictures}"
    )


def _made(record: dict[str, Any]) -> str:
    rows = [[f"`{name}`", values.replace("|", "\\|")] for name, values in record["parameters"].items()]
    return (
        f'<a id="{record["study"]}"></a>\n### {record["study"]}\n\n{record["summary"]}\n\n'
        f"- command: `{record['command']}`\n"
        f"- {record['cases']} cases{_other_code(record)}, {_spent(record)}\n"
        f"- made with {record['made with']}\n\n"
        f"{table(('parameter', 'values'), rows)}\n"
    )


def _other_code(record: dict[str, Any]) -> str:
    count = len(record.get("cases of other code", ()))
    return f" ({count} of them by another state of the code than the last)" if count else ""


def _spent(record: dict[str, Any]) -> str:
    if record.get("cpu seconds") is not None:
        return f"{_duration(record['cpu seconds'])} of one core in all"
    return f"{_duration(record['seconds'])} by the clock in all, on a machine that did other work as well"


def cost_words(cost: dict[str, Any]) -> str:
    """One entry of ``costs.json``."""
    return f"{_duration(cost['cpu seconds'])} of one core (measured)"


def _costs(root: Path) -> str:
    """The table of ``costs.json``, empty without that file."""
    path = root / "costs.json"
    if not path.exists():
        return ""
    measured = json.loads(path.read_text())
    quick = [(name, sizes["quick"]) for name, sizes in sorted(measured.items()) if "quick" in sizes]
    rows = [[name, cost["cases"], _duration(cost["cpu seconds"])] for name, cost in quick]
    total = sum(cost["cpu seconds"] for _, cost in quick)
    rows.append([f"these {len(quick)}", sum(cost["cases"] for _, cost in quick), _duration(total)])
    return (
        "## What the quick run costs\n\nProcessor time of one core, of the studies that were measured.\n"
        "Imports and drawing come on top. `python -m validation all --quick --resume` shares the cases "
        "between the cores\nand writes to `build/figures/quick`.\n\n"
        f"{table(('study', 'cases', 'time'), rows)}\n"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.1f} min"
