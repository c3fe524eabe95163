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

The paper is arXiv:1806.05394 (ICML 2018, PMLR 80:873–882). Its full text was not at hand: its claims, figures
and parameters are those of the abstract, the figures, and statements of others, and where a detail is unknown
the study says what it chose. Every number was written by a run (`claims.json` in each folder). Verdicts
follow from the numbers by the rules of [appendix A](#rules). What was found stands on the first page; the
figures with all other numbers follow it.
"""

# Headings of the first page, one for each verdict.
_PAGE = {
    Verdict.REPRODUCED: "What holds",
    Verdict.DIFFERENCE: "What holds with a difference",
    Verdict.NOT_REPRODUCED: "What does not hold",
    Verdict.UNDECIDED: "What these runs do not decide",
}


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
    """The report as Markdown: a page of verdicts, the numbers and figures, and two appendices."""
    rules = list(dict.fromkeys(claim["reason"] for _, claim in _claims(records)))
    shown: set[tuple[str, str]] = set()
    parts = [_HEAD, "## In one page\n", *_page(records)]
    for title in _titles(records):
        own = [(record, claim) for record, claim in _claims(records) if _item(claim["item"]) == title]
        parts += [f"## {title}: {ITEMS[title]}\n" if title in ITEMS else f"## {title}\n"]
        said: set[str] = set()
        parts += [
            _claim(record, claim, rules, said) + _pictures(record, claim, shown) for record, claim in own
        ]
        if not own:
            parts.append("No study with a saved result speaks to this.\n")
    parts += ['## <a id="rules"></a>Appendix A: rules of the verdicts\n']
    parts += [f'<a id="rule-{k}"></a>**Rule {k}.** {_sentence(rule)}\n' for k, rule in enumerate(rules, 1)]
    parts += ["## Appendix B: how each was made\n", *(_made(record) for record in records)]
    return "\n".join(parts)


def _page(records: list[dict[str, Any]]) -> list[str]:
    """What goes beyond the paper; then a table for each verdict: claim, what was found, figure."""
    new = [f"- {claim['new']} {_link(record, claim)}" for record, claim in _claims(records) if claim["new"]]
    lines = ["### What is new here\n", "\n".join(new) + "\n"] if new else []
    for verdict, heading in _PAGE.items():
        own = [
            [_cell(f"**{title}.** {claim['claim']}"), _cell(_found(claim)), _link(record, claim)]
            for title in _titles(records)
            for record, claim in _claims(records)
            if claim["verdict"] == verdict and _item(claim["item"]) == title
        ]
        if own:
            lines += [f"### {heading} ({len(own)})\n", table(("claim", "found", "see"), own) + "\n"]
    return lines


def _cell(text: str) -> str:
    """Text for a cell of a table, where a bar would end the cell."""
    return text.replace("|", "\\|")


def _link(record: dict[str, Any], claim: dict[str, Any]) -> str:
    """The first figure of a claim, or the study's tables."""
    folder, first = record["study"], next(iter(claim["figures"]), None)
    return f"[figure]({folder}/{first}.png)" if first else f"[table]({folder}/report.md)"


def _sentence(rule: str) -> str:
    return rule[:1].upper() + rule[1:].rstrip(".") + "."


def _claims(records: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(record, claim) for record in records for claim in record["claims"]]


def _item(name: str) -> str:
    return next((item for item in ITEMS if name.startswith(item)), name)


def _titles(records: list[dict[str, Any]]) -> list[str]:
    others = {_item(claim["item"]) for _, claim in _claims(records)} - set(ITEMS)
    return [*ITEMS, *sorted(others)]


def _claim(record: dict[str, Any], claim: dict[str, Any], rules: list[str], said: set[str]) -> str:
    """A claim with its verdict and numbers; what was said before of another network is not said again."""
    where = claim["item"].removeprefix(_item(claim["item"])).strip(" ,:")
    network, _, statement = claim["claim"].rpartition(": ")
    text = f"{network}." if network and statement in said else claim["claim"]
    said.add(statement)
    number = rules.index(claim["reason"]) + 1
    folder = record["study"]
    return (
        f"**{where + ': ' if where else ''}{text}** *{_sentence(claim['verdict'])[:-1]}* "
        f"([rule {number}](#rule-{number}), [{folder}](#{folder})){_numbers(claim)}.\n"
    )


def _found(claim: dict[str, Any]) -> str:
    """What was found; before it what the difference is, where there is one."""
    return ": ".join(text for text in (claim["difference"], claim["found"]) if text)


def _numbers(claim: dict[str, Any]) -> str:
    return f": {claim['numbers']}" if claim["numbers"] else ""


def _pictures(record: dict[str, Any], claim: dict[str, Any], shown: set[tuple[str, str]]) -> str:
    """The figures of a claim that were not shown before, each a link to its PDF."""
    folder = record["study"]
    new = [name for name in claim["figures"] if (folder, name) not in shown]
    shown.update((folder, name) for name in new)
    return "".join(f"\n[![{name}]({folder}/{name}.png)]({folder}/{name}.pdf)\n" for name in new)


def _made(record: dict[str, Any]) -> str:
    rows = [[f"`{name}`", _cell(values)] for name, values in record["parameters"].items()]
    return (
        f'<a id="{record["study"]}"></a>\n### {record["study"]}\n\n{record["summary"]}\n\n'
        f"- [all numbers]({record['study']}/report.md)\n"
        f"- command: `{record['command']}` (size {record['size']})\n"
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
        "## Appendix C: what the quick run costs\n\n"
        "Processor time of one core, of the studies that were measured.\n"
        "Imports and drawing come on top. `python -m validation all --quick --resume` shares the cases "
        "between the cores\nand writes to `build/figures/quick`.\n\n"
        f"{table(('study', 'cases', 'time'), rows)}\n"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.1f} min"
