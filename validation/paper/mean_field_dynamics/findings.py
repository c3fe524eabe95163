"""What the saved results say: tables, and the claims for the report of all studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from validation import core
from validation.paper.mean_field_dynamics.cases import AGREES, agrees
from validation.paper.mean_field_dynamics.figures import draw

Results = dict[str, core.Result]
Metas = dict[str, dict[str, Any]]
_RULE = (
    f"agreement: the root mean square of simulation − theory over the steps is below {AGREES['rms']:g}, or "
    f"below {AGREES['rms in errors']:g} standard errors"
)


def report(results: Results, size: str, folder: Path) -> None:
    """Write data, figures and ``report.md``."""
    core.save_data(folder, "data", results, single=True)
    draw(results, folder)
    parts = [f"# Dynamics of the mean field ({size})\n", f"Rule for {_RULE}.\n"]
    parts += ["## Correlation dynamics (Fig. 1)\n", _figure1_table(results)]
    parts += ["\n## Evolution of q and c, and the correlation map\n", _evolution_table(results)]
    parts += ["\n## Time scales\n", _decay_table(results)]
    parts.append(
        f"\nMade by `python -m validation mean_field_dynamics --{size}` with {core.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text("\n".join(parts))


def claims(results: Results) -> list[core.Claim]:
    """Fig. 1 untied and tied, the evolution, and the time scales."""
    untied, tied = _metas(results, "figure1", "-untied"), _metas(results, "figure1", "-tied")
    return [
        _figure1_untied(untied),
        _figure1_tied(tied),
        *_evolution_claims(results),
        _decay_claim(results),
    ]


def _metas(results: Results, prefix: str, suffix: str = "") -> Metas:
    return {k: meta for k, (meta, _) in results.items() if k.startswith(prefix) and k.endswith(suffix)}


def _figure1_untied(metas: Metas) -> core.Claim:
    differ = [key for key, meta in metas.items() if not agrees(meta["c distance"])]
    silent = [key for key, meta in metas.items() if key not in differ and agrees(meta["control"])]
    agree = [key for key in metas if key not in (*differ, *silent)]
    worst = max(meta["c distance"]["rms"] for meta in metas.values())
    return core.Claim(
        item="Fig. 1, untied panel",
        claim="The mean field predicts the correlation of two sequences step by step, for "
        "weights drawn anew at every step.",
        found=f"{len(metas) - len(differ)} of {len(metas)} curves agree (five biases, two initial states)",
        numbers=f"largest root mean square deviation of c {worst:.4f}; {len(silent)} of these agree with the "
        "theory of σ_w × 1.1 as well, and so tell nothing",
        **core.by_cases(agree, differ, silent),
        reason=f"{_RULE}. A curve that agrees with the theory of σ_w × 1.1 as well cannot tell: its "
        f"correlation reaches one within a few steps; {core.BY_CASES}. The curves for h⁰ = 0 and for "
        "stationary h⁰ both count: how the paper starts its networks is not known",
        figures=("correlation-stationary", "correlation-zero"),
    )


def _figure1_tied(metas: Metas) -> core.Claim:
    apart = {k: meta for k, meta in metas.items() if not agrees(meta["c distance"])}
    untied = sum(not agrees(meta["untied"]) for meta in metas.values())
    worst = max(meta["c distance"]["rms"] for meta in metas.values())
    biases = ", ".join(f"{b:g}" for b in sorted({_bias(meta) for meta in apart.values()}))
    return core.Claim(
        item="Fig. 1, tied panel",
        claim="A mean field describes networks with tied weights.",
        found=f"the paper's theory is rejected in {untied} of {len(metas)} curves, theory.md (19) agrees "
        f"with {len(metas) - len(apart)}",
        numbers=f"largest root mean square deviation of c {worst:.4f}"
        + (f"; curves that disagree have μ_b = {biases}" if apart else ""),
        **core.by_theories(untied, len(metas) - len(apart), len(metas), "another one, of all pairs of steps"),
        reason=f"{_RULE}. Reproduced if the paper's theory agrees with every curve; with a difference if "
        "the theory with the covariance of all pairs of steps agrees with at least half; else not "
        "reproduced. The paper's theory leaves out that the state of a minimalRNN remembers: with one W "
        "the state and the weights become dependent, and the pre-activations have another variance",
        figures=("correlation-stationary", "correlation-zero"),
    )


def _bias(meta: dict[str, Any]) -> float:
    mu_b = meta["settings"]["ensemble"]["mu_b"]
    return float(mu_b if not isinstance(mu_b, dict) else next(iter(mu_b.values())))


def _evolution_claims(results: Results) -> list[core.Claim]:
    made = []
    for weights in ("untied", "tied"):
        metas = _metas(results, "evolution", f"-{weights}")
        parts = {
            name: [key for key, meta in metas.items() if not agrees(meta[f"{name} distance"])]
            for name in ("q", "c", "map")
        }
        apart = sorted({key for keys in parts.values() for key in keys})
        counts = ", ".join(
            f"{name}: {len(metas) - len(keys)} of {len(metas)}" for name, keys in parts.items()
        )
        worst = {
            name: max(meta[f"{name} distance"]["rms"] for meta in metas.values())
            for name in ("q", "c", "map")
        }
        made.append(
            core.Claim(
                item="Mean field, evolution of q and c",
                claim="q^t, c^t from any start and the map c → f(c) follow the recursion, for vanilla and "
                f"minimalRNN, {weights} weights.",
                found=f"networks that agree: {counts}",
                numbers=f"largest root mean square deviation: q {worst['q']:.4f} (relative), c "
                f"{worst['c']:.4f}, map {worst['map']:.4f}",
                **core.by_cases(
                    [key for key in metas if key not in apart],
                    [key.removeprefix("evolution-") for key in apart],
                ),
                reason=f"{_RULE}; q relative to theory; a network agrees if q, c and the map do. "
                f"{core.BY_CASES}. The map is one step, and the same for both kinds of weights",
                figures=(
                    "evolution-q-vanilla",
                    "evolution-q-minimal",
                    "evolution-c-vanilla",
                    "evolution-c-minimal",
                    "correlation-map",
                ),
            )
        )
    return made


def _decay_claim(results: Results) -> core.Claim:
    metas = _metas(results, "decay")
    late = {key: abs(meta["late fit"] / meta["timescale"] - 1.0) for key, meta in metas.items()}
    simulated = [key for key, meta in metas.items() if _decay_agrees(meta)]
    agree = [key for key in simulated if late[key] < 0.01]
    return core.Claim(
        item="Mean field, time scales",
        claim="The correlation approaches its fixed point with the time scale ξ = −1/log χ at c*.",
        found=f"the late decay of {len(metas)} curves equals ξ to {max(late.values()):.2%}",
        numbers=f"simulation: {len(simulated)} of {len(metas)} fitted decay times agree with the theory's "
        "over the same steps",
        **core.by_cases(agree, [key.removeprefix("decay-") for key in metas if key not in agree]),
        reason="a curve agrees if its late fit is within 1 % of ξ, and the simulated one within three "
        f"standard errors or 3 % of the fit on the theory's curve; {core.BY_CASES}. ξ from a few steps to "
        "some dozens, untied weights",
        figures=("decay",),
    )


def _decay_agrees(meta: dict[str, Any]) -> bool:
    away = abs(meta["fit on simulation"] - meta["fit on theory"])
    return away < 3.0 * meta["error"] or away < 0.03 * meta["fit on theory"]


def _figure1_table(results: Results) -> str:
    rows = [
        [
            key.removeprefix("figure1-"),
            f"{meta['q_star']:.4g}",
            f"{meta['c_star']:.4g}",
            f"{float(meta['timescale']):.4g}",
            f"{meta['last q'][0]:.4g} / {meta['last q'][1]:.4g}",
            f"{meta['last c'][0]:.4f} / {meta['last c'][1]:.4f}",
            *_distance_cells(meta["c distance"]),
            "rejected" if not agrees(meta["control"]) else "**not rejected**",
        ]
        for key, meta in _metas(results, "figure1").items()
    ]
    header = (
        "start, μ_b, weights",
        "q*",
        "c*",
        "ξ",
        "last q: simulated / theory",
        "last c: simulated / theory",
    )
    return core.table((*header, "rms", "rms in s.e.", "theory", "σ_w × 1.1"), rows)


def _distance_cells(distance: dict[str, float]) -> list[str]:
    return [
        f"{distance['rms']:.4f}",
        f"{distance['rms in errors']:.2f}",
        "agrees" if agrees(distance) else "**differs**",
    ]


def _evolution_table(results: Results) -> str:
    rows = []
    for key, meta in _metas(results, "evolution").items():
        for name in ("q", "c", "map"):
            rows.append([key.removeprefix("evolution-"), name, *_distance_cells(meta[f"{name} distance"])])
    return core.table(("network", "quantity", "rms", "rms in s.e.", "theory"), rows)


def _decay_table(results: Results) -> str:
    rows = [
        [
            key.removeprefix("decay-"),
            f"{meta['c_star']:.4f}",
            f"{meta['timescale']:.4f}",
            f"{meta['late fit']:.4f}",
            f"{meta['window'][0]}–{meta['window'][1]}",
            f"{meta['fit on theory']:.3f}",
            f"{meta['fit on simulation']:.3f} ± {meta['error']:.3f}",
            "agrees" if _decay_agrees(meta) else "**differs**",
        ]
        for key, meta in _metas(results, "decay").items()
    ]
    header = (
        "network",
        "c*",
        "ξ",
        "late fit on theory",
        "steps",
        "fit on theory",
        "fit on simulation ± s.e.",
        "",
    )
    return core.table(header, rows)
