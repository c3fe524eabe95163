"""Table, figures and the claim, by the rules of `verdict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from validation import core
from validation.beyond.gated import cases, figures, laws, samples, verdict


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write ``data.npz``, ``data.json``, ``samples.npz``, ``report.md`` and the figures."""
    core.save_data(folder, "data", results, single=True)
    samples.keep([core.Case(key, meta["settings"]) for key, (meta, _) in results.items()], folder)
    limit = verdict.LIMIT[size]
    rows = [_row(key, meta, limit) for key, (meta, _) in results.items()]
    verdicts = [verdict.of_theory(meta, limit) for meta, _ in results.values()]
    judged = [verdict.of_wrong(meta, name, limit) for meta, _ in results.values() for name in meta["wrong"]]
    counts = ", ".join(f"{judged.count(name)} {name}" for name in sorted(set(judged)))
    text = (
        f"# Spectra of gated networks: theory against sampled matrices ({size})\n\n"
        "Each case compares `rmtrnn.spectrum` (matrix Dyson equation, N → ∞) with sampled networks of N "
        f"units.\nThe theory is within a Kolmogorov distance of {limit:g} in {verdicts.count('within')} "
        f"of {len(rows)} cases. Wrong laws: {counts}.\n\n{verdict.rules(limit)}\n"
        f"{core.table(_HEADER, rows)}\n\n"
    )
    if size == "standard":
        text += "Left out:\n\n" + "".join(f"- {reason}.\n" for reason in cases.LEFT_OUT) + "\n"
    text += (
        f"Made by `python -m validation gated --{size}` with {core.describe(results)}.\nParameters, seeds "
        "and all numbers: `data.json`, `data.npz`; the sampled log s as float32: `samples.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    figures.draw(results, folder)


_HEADER = (
    "case",
    "trials × N",
    "cdf error",
    "distance",
    "noise",
    "m₁: theory / sample",
    "theory",
    "wrong laws",
)


def _row(key: str, meta: dict[str, Any], limit: float) -> list[str]:
    theory, (m1, m1_error) = meta["theory"], meta["m1 sample"]
    found = verdict.of_theory(meta, limit)
    error, distance, mean = "-", "-", "-"
    if theory["converged"]:
        error, distance = f"{theory['cdf error']:.1e}", f"{theory['distance']:.4f}"
        mean = f"{theory['m1']:.4g}"
    wrong = [
        f"{name} {own.get('distance', float('nan')):.4f} {verdict.of_wrong(meta, name, limit)}"
        for name, own in meta["wrong"].items()
    ]
    return [
        key,
        f"{meta['settings']['trials']} × {meta['settings']['N']}",
        error,
        distance,
        f"{meta['noise']:.4f}",
        f"{mean} / {m1:.4g} ± {m1_error:.1g}",
        found if found == "within" else f"**{found}**",
        "; ".join(wrong),
    ]


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """What the study says of the paper's untied weights."""
    tied = {key: meta for key, (meta, _) in results.items() if meta["settings"]["ensemble"]["tied"]}
    own = {key: meta["wrong"][laws.UNTIED] for key, meta in tied.items()}
    own = {key: found for key, found in own.items() if "apart" in found}
    if not own:
        return []
    size = "standard" if any(meta["settings"]["N"] >= 1000 for meta, _ in results.values()) else "quick"
    limit = verdict.LIMIT[size]
    rejected = [key for key in own if verdict.of_wrong(tied[key], laws.UNTIED, limit) == "rejected"]
    right = [key for key in tied if verdict.of_theory(tied[key], limit) == "within"]
    farthest = max(own, key=lambda key: own[key]["distance"])
    apart = own[farthest]["distance"]
    return [
        core.Claim(
            item="Spectra of networks with tied weights",
            claim="The theory is that of untied weights; it is used for networks with tied weights.",
            found=f"samples with tied weights reject the law of untied ones in {len(rejected)} of {len(own)} "
            f"cases, and agree with that of tied ones to {limit:g} in {len(right)} of {len(tied)}",
            numbers=f"Kolmogorov distance of the law of untied weights up to {apart:.2g} ({farthest})",
            new="Tied weights have a spectrum of their own, exact by a matrix Dyson equation over all steps: "
            f"within {limit:g} of {len(right)} of {len(tied)} samples, where the law of untied weights is "
            f"off by up to {apart:.2g}.",
            **core.by_theories(len(rejected), len(right), len(tied), "tied weights have a law of their own"),
            reason=(
                "reproduced if no sample with tied weights rejects the law of untied ones; with a "
                "difference if the law of tied ones is within the limit of at least half of the samples; "
                "else not reproduced. The state of gated and leaky cells remembers what the same weights "
                "did before"
            ),
            figures=("tied_untied",),
        )
    ]
