"""The kinds of cases: how each is drawn from a seed, and how its answer is checked.

Letters: T, the number of steps.
"""

from __future__ import annotations

import functools
import json
import math
import signal
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

import rmtrnn as rt
from rmtrnn._core.status import ConvergenceError
from rmtrnn.cells.functions import textbook
from validation.hunt import activations, checks
from validation.hunt.checks import Wrong

Settings = dict[str, Any]
GATED = (
    "minimal", "gru", "gru_reset_after", "lstm", "lstm_peephole", "leaky",
    "mingru", "minlstm", "mgu", "ugrnn", "janet", "cfn",
)  # fmt: skip
SAMPLED = 200  # size of sampled vanilla networks; free laws likewise
FAR = 0.05  # Kolmogorov distance of such a sample that a right law does not reach


class Answer(NamedTuple):
    """What became of a case: a verdict of the package's text, and words."""

    verdict: str
    words: str = ""


class NoState(Exception):
    """The network has no stationary state, and the mean field says so."""


class Unusable(Exception):
    """An answer that says of itself that it is none."""


class TooSlow(BaseException):
    """The time of a case is over. Not an Exception, so that nothing on the way swallows it."""


class Kind(NamedTuple):
    """``share`` of all cases, how one is drawn and checked, and the seconds that one may take."""

    share: float
    draw: Callable[[np.random.Generator], Settings]
    check: Callable[[Settings], None]
    seconds: int


def draw(kind: str, seed: int) -> Settings:
    """The settings of a case."""
    settings = KINDS[kind].draw(np.random.default_rng([seed, list(KINDS).index(kind)]))
    return settings | {"seed": seed}


def answer(kind: str, settings: Settings) -> Answer:
    """Run a case and say what became of it."""
    try:
        with warnings.catch_warnings(), _within(KINDS[kind].seconds):
            warnings.simplefilter("error")
            KINDS[kind].check(settings)
    except Wrong as error:
        return Answer("wrong", str(error))
    except Unusable as error:
        return Answer("unusable", str(error))
    except NoState as error:
        return Answer("no state", str(error))
    except ConvergenceError as error:
        return Answer("no state" if "stationary" in str(error) else "unusable", str(error))
    except (ValueError, TypeError) as error:
        return Answer("refused", f"{type(error).__name__}: {error}")
    except TooSlow:
        return Answer("slow", f"more than {KINDS[kind].seconds} s")
    except Exception as error:
        return Answer("exception", f"{type(error).__name__}: {error}")
    return Answer("ok")


@contextmanager
def _within(seconds: int) -> Any:
    """TooSlow after so many seconds of processor time (on systems that have such alarms)."""

    def over(*_: Any) -> None:
        raise TooSlow

    if not hasattr(signal, "SIGPROF"):
        yield
        return
    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# -- networks ----------------------------------------------------------------------------------------------


def _number(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 4)


def _scales(rng: np.random.Generator, largest: float) -> Settings:
    settings: Settings = {
        "sigma_w": _number(rng, 0.2, largest),
        "sigma_v": _number(rng, 0.0, 1.5) if rng.random() < 0.7 else 0.0,
        "mu_b": float(rng.choice([0.0, _number(rng, -2, 2), _number(rng, -8, 8)], p=[0.5, 0.3, 0.2])),
        "sigma_b": _number(rng, 0.0, 1.0) if rng.random() < 0.7 else 0.0,
        "R": _number(rng, 0.2, 1.2),
        "weights": str(rng.choice(["gaussian", "orthogonal"])),
    }
    return settings


def _draw_vanilla(rng: np.random.Generator) -> Settings:
    T = int(rng.choice([1, 2, 3, 5, 20, 300], p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05]))
    return {"activation": activations.draw(rng), "T": T} | _scales(rng, 2.0)


@functools.lru_cache(maxsize=256)
def _cell(text: str) -> rt.VanillaRNN:
    """SymPy works on each activation only once."""
    spec = json.loads(text)
    return rt.VanillaRNN(spec[1] if spec[0] == "named" else activations.expression(spec))


def vanilla_ensemble(settings: Settings) -> rt.Ensemble:
    """The network of a vanilla case."""
    return rt.Ensemble(_cell(json.dumps(settings["activation"])), **{name: settings[name] for name in SCALES})


SCALES = ("sigma_w", "sigma_v", "mu_b", "sigma_b", "R", "weights")


def _phi(ens: rt.Ensemble) -> Callable[[np.ndarray], np.ndarray]:
    """φ by SymPy's own translation to NumPy, whatever the package makes of it."""
    assert isinstance(ens.cell, rt.VanillaRNN)
    expr = textbook(ens.cell.activation.expr)
    function = sp.lambdify(ens.cell.activation.symbol, expr, ["scipy", "numpy"])

    def phi(z: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.broadcast_to(np.asarray(function(z), dtype=float), z.shape)

    return phi


def _slope(phi: Callable[[np.ndarray], np.ndarray], e: np.ndarray) -> tuple[np.ndarray, float]:
    """φ'(e) by central differences, and the size of their rounding."""
    h = 1e-6 * np.maximum(1.0, np.abs(e))
    above, below = phi(e + h), phi(e - h)
    return (above - below) / (2 * h), float(np.max(2e-16 * np.abs(above) / h))


def _check_vanilla(settings: Settings) -> None:
    ens, T = vanilla_ensemble(settings), settings["T"]
    field = rt.mean_field(ens)
    if not field.converged:
        raise NoState(field.message)
    spec = rt.spectrum(ens, T)
    _usable(spec.converged, spec.error)
    base = T == 1 and ens.weights == "orthogonal"
    checks.law(spec.log_s, spec.error, spec.mass, close=2e-3 if base else 1e-6)
    if field.chi > 0 and abs(T * math.log(field.chi)) < 575.0:  # m_1 fits into a double
        # By step; masses below 1e-20 lie beyond what both quadratures follow the normal law to.
        top = spec.log_s.support[-1][1] if spec.log_s.support else 0.0
        largest = math.exp(min(max(2 * top / T, 0.0), 20.0))
        checks.close("m_1", spec.moment(1) ** (1 / T), field.chi, 1e-8, 1e-20 * largest)
    rng = np.random.default_rng([settings["seed"], 1])
    phi, (gate,) = _phi(ens), ens.cell.gates
    deviation = math.sqrt(float(_values(field.q)[0]))
    z = settings["mu_b"] + deviation * checks.stratified_normals(100_000, rng)
    Q = float(np.mean(phi(z) ** 2))
    q = settings["sigma_w"] ** 2 * Q + settings["sigma_v"] ** 2 * settings["R"] + settings["sigma_b"] ** 2
    # Heavy tails of φ² converge slowly: ten thousandths and the scatter of the mean.
    scatter = settings["sigma_w"] ** 2 * float(np.std(phi(z) ** 2)) / math.sqrt(z.size)
    checks.close("q", deviation**2, q, 1e-3, 5 * scatter + 1e-12)
    if T > 3 or deviation == 0.0:  # difference quotients do not see the slope at a kink
        return
    n = 4000 if base else SAMPLED
    slopes, rounding = [], 0.0
    for _ in range(T):
        e = settings["mu_b"] + deviation * checks.stratified_normals(n, rng)
        slope, noise = _slope(phi, e)
        slopes.append(slope)
        rounding = max(rounding, noise)
    if not all(np.all(np.isfinite(slope)) for slope in slopes):
        return
    if rounding > 1e-6 * min(np.max(np.abs(slope)) for slope in slopes) and not base:
        return  # the sample would be one of rounding
    with np.errstate(divide="ignore"):
        if base:
            sample = np.log(ens.gate(gate).sigma_w * np.abs(slopes[0]))
        else:
            J = np.eye(n)
            for slope in slopes:
                J = slope[:, None] * (checks.weight(n, ens, rng) @ J)
            singular = np.linalg.svd(J, compute_uv=False)
            sample = np.log(np.where(singular > 1e-13 * singular[0], singular, 0.0))
    floor = math.log(1e3 * ens.gate(gate).sigma_w * rounding) if base and rounding > 0 else -math.inf
    distance = checks.kolmogorov(spec.log_s.cdf, sample, floor)
    if distance > spec.error + (0.02 if base else FAR):
        raise Wrong(f"distance {distance:.3f} from {n} sampled values, stated error {spec.error:.1e}")


def _usable(converged: bool, error: float) -> None:
    if not converged or not error <= 0.1:
        raise Unusable(f"converged {converged}, error {error:.2g}")


# -- free laws ---------------------------------------------------------------------------------------------


LEAVES = {"mp": 0.25, "discrete": 0.2, "fuss": 0.1, "image": 0.25, "circle": 0.1, "points": 0.1}
OPERATIONS = {"times": 0.3, "power": 0.2, "plus": 0.25, "sum power": 0.1, "dilate": 0.05, "number": 0.1}


def _draw_free(rng: np.random.Generator) -> Settings:
    return {"law": _draw_law(rng, int(rng.integers(0, 3)))}


def _draw_law(rng: np.random.Generator, depth: int) -> list[Any]:
    if depth == 0:
        kind = str(rng.choice(list(LEAVES), p=list(LEAVES.values())))
        if kind == "mp":
            return ["mp", _number(rng, 0.1, 2.5), _number(rng, 0.3, 2.0)]
        if kind == "fuss":
            return ["fuss", _number(rng, 1.0, 3.0)]
        if kind == "circle":
            return ["circle", _number(rng, 0.3, 2.0)]
        if kind == "image":
            return ["image", str(rng.choice(list(IMAGES))), _number(rng, 0.2, 2.0)]
        count = int(rng.integers(1, 4))
        where = sorted({_number(rng, 0.0 if kind == "discrete" else -1.5, 2.0) for _ in range(count)})
        mass = rng.dirichlet(np.full(len(where), 3.0)).tolist()
        return ["points", where, mass]
    kind = str(rng.choice(list(OPERATIONS), p=list(OPERATIONS.values())))
    part = _draw_law(rng, depth - 1)
    if kind in ("times", "plus"):
        return [kind, part, _draw_law(rng, int(rng.integers(0, depth)))]
    return [kind, part, _number(rng, 1.0, 3.0)]


IMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[float, ...]]] = {
    "tanh2": (lambda y: np.tanh(y) ** 2, ()),
    "square": (lambda y: y * y, ()),
    "step": (lambda y: np.where(y < 0.3, 0.2, 1.0 + np.tanh(y)), (0.3,)),
    "bump": (lambda y: np.exp(-y * y), ()),
    "shifted": (lambda y: 1.0 + 0.5 * np.tanh(y), ()),
}


def build(spec: list[Any]) -> Any:
    """The free law of a nested description."""
    name, first, *rest = spec
    if name in ("times", "plus"):
        a, b = build(first), build(rest[0])
        return a @ b if name == "times" else a + b
    if name == "power":
        return build(first) ** rest[0]
    if name == "sum power":
        return build(first).free_sum(rest[0])
    if name == "dilate":
        return build(first).dilate(rest[0])
    if name == "number":
        return build(first) + rest[0]
    if name == "image":
        f, kinks = IMAGES[first]
        return rt.free.Pushforward(f, rest[0], kinks=kinks)
    makers: dict[str, Callable[..., Any]] = {
        "mp": rt.free.MarchenkoPastur, "fuss": rt.free.FussCatalan,
        "circle": rt.free.Semicircle, "points": rt.free.Discrete,
    }  # fmt: skip
    return makers[name](first, *rest)


def _matrix(spec: list[Any], n: int, rng: np.random.Generator) -> np.ndarray | None:
    """A symmetric matrix whose eigenvalues have nearly this law; None where no model is at hand."""
    name, first, *rest = spec
    if name in ("power", "sum power"):
        return None
    if name in ("times", "plus"):
        a, b = _matrix(first, n, rng), _matrix(rest[0], n, rng)
        if a is None or b is None:
            return None
        Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        b = Q @ b @ Q.T
        if name == "plus":
            return a + b
        values, vectors = np.linalg.eigh(b)
        if values[0] < -1e-9:  # the roles exchanged: one factor must be positive
            a, b = b, a
            values, vectors = np.linalg.eigh(b)
        if values[0] < -1e-9:
            return None
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        return root @ a @ root
    if name in ("dilate", "number"):
        a = _matrix(first, n, rng)
        return None if a is None else a * rest[0] if name == "dilate" else a + rest[0] * np.eye(n)
    own = build(spec)
    return np.diag(np.asarray(own.icdf((rng.permutation(n) + 0.5) / n)))


def _check_free(settings: Settings) -> None:
    own = build(settings["law"])
    _usable(True, own.error)
    p = checks.LEVELS
    x = np.asarray(own.icdf(p))
    margin = own.error + checks.ROUNDING
    reached = np.asarray(own.cdf(np.nextafter(x, math.inf)))  # a quantile is rounded
    if np.any(np.diff(x) < -1e-9 * (1 + np.abs(x[1:]))) or np.any(reached < p - margin - 1e-6):
        raise Wrong(f"quantiles {x.tolist()}, F there {reached.tolist()}")
    ends = [end for piece in own.support for end in piece] + [where for where, _ in own.atoms]
    top = max(ends)
    if math.isfinite(top) and own.cdf(top + 1e-6 * (1 + abs(top))) < 1 - margin:
        raise Wrong("F < 1 right of the support")
    grid = np.linspace(x[0] - 0.1, x[-1] + 0.1, 101)
    if np.any(np.diff(own.cdf(grid)) < -margin) or np.any(~(np.asarray(own.pdf(grid)) >= 0)):
        raise Wrong("F falls, or a density is negative or nan")
    fine = np.asarray(own.icdf((np.arange(4000) + 0.5) / 4000))
    mean, second = own.moment(1), own.moment(2)
    spread = math.sqrt(max(second - mean**2, 0.0))
    if math.isfinite(top):
        checks.close(
            "mean", float(fine.mean()), mean, 0.0, 0.01 * spread + margin * abs(top) + 1e-6 * abs(mean)
        )
    matrix = _matrix(settings["law"], SAMPLED, np.random.default_rng([settings["seed"], 2]))
    if matrix is None:
        return
    values = np.sort(np.linalg.eigvalsh(matrix))
    nudge = 1e-6 * (1 + np.abs(values))
    n = values.size
    distance = max(
        np.max(np.arange(1, n + 1) / n - own.cdf(values + nudge)),
        np.max(own.cdf(values - nudge) - np.arange(n) / n),
    )
    if distance > own.error + FAR:
        raise Wrong(f"distance {distance:.3f} from a matrix of size {n}, stated error {own.error:.1e}")


# -- gated networks ----------------------------------------------------------------------------------------


def _draw_gated(rng: np.random.Generator) -> Settings:
    return {"cell": str(rng.choice(GATED)), "T": int(rng.choice([1, 2, 3]))} | _scales(rng, 2.5)


def _draw_tied(rng: np.random.Generator) -> Settings:
    return _draw_gated(rng) | {"T": int(rng.choice([1, 2], p=[0.7, 0.3]))}


def gated_ensemble(settings: Settings, tied: bool = False) -> rt.Ensemble:
    """The network of a gated case."""
    return rt.Ensemble(settings["cell"], tied=tied, **{name: settings[name] for name in SCALES})


def _check_gated(settings: Settings, tied: bool = False) -> None:
    ens, T = gated_ensemble(settings, tied), settings["T"]
    population = 1024 if tied else 4096
    spec = rt.spectrum(ens, T, population=population)
    _usable(spec.converged, spec.error)
    checks.law(spec.log_s, spec.error, spec.mass, close=1e-3)
    mc = rt.sample(ens, T, N=100, trials=4, seed=settings["seed"], burn_in=100)
    if mc.stationary is False:
        return
    distance = checks.kolmogorov(spec.log_s.cdf, mc.log_s.ravel())
    if distance > spec.error + 0.06:  # a hundred steps may be less than the memory of the network
        mc = rt.sample(ens, T, N=100, trials=4, seed=settings["seed"])
        if mc.stationary is False:
            return
        distance = checks.kolmogorov(spec.log_s.cdf, mc.log_s.ravel())
    if distance > spec.error + 0.06:
        report = rt.compare(spec, mc, level=1e-3)
        if report.verdict == "disagrees" or distance > spec.error + 0.15:
            raise Wrong(f"distance {distance:.3f} from sampled networks, stated error {spec.error:.1e}")


def _check_tied(settings: Settings) -> None:
    _check_gated(settings, tied=True)


# -- mean fields, eigenvalues, critical points -------------------------------------------------------------


def _draw_field(rng: np.random.Generator) -> Settings:
    if rng.random() < 0.8:  # a gated cell costs twenty times as much
        return {"activation": activations.draw(rng), "Sigma": _number(rng, -1, 1)} | _scales(rng, 2.5)
    return {"cell": str(rng.choice(GATED)), "Sigma": _number(rng, -1, 1)} | _scales(rng, 2.5)


def _ensemble(settings: Settings) -> rt.Ensemble:
    ens = vanilla_ensemble(settings) if "activation" in settings else gated_ensemble(settings)
    return ens.replace(Sigma=settings.get("Sigma", 0.0))


def _values(x: Any) -> np.ndarray:
    return np.array(list(x.values()) if hasattr(x, "values") else [x], dtype=float)


def _check_field(settings: Settings) -> None:
    """The fixed point is where a long trajectory ends; |c| ≤ 1, Q ≥ 0, |χ*| ≤ χ."""
    ens = _ensemble(settings)
    field = rt.mean_field(ens)
    if not field.converged:
        raise NoState(field.message)
    Q, q, c = _values(field.Q), _values(field.q), _values(field.c_star)
    if np.any(Q < 0) or np.any(q < 0) or np.any(np.abs(c) > 1 + 1e-9):
        raise Wrong(f"Q = {Q}, q = {q}, c* = {c}")
    stated = 3 * field.error + sum(field.errors.get(name, 0.0) for name in ("chi", "chi_star"))
    largest = field.chi * (1 + 1e-6) + 1e-9 + stated + 0.1 * (len(Q) > 1)
    if not math.isfinite(field.chi) or abs(field.chi_star) > largest:
        raise Wrong(f"χ = {field.chi}, χ* = {field.chi_star}")
    if field.timescale > 20 or field.chi > 0.95:
        return  # slow, or more than one state
    steps = int(20 + 8 * field.timescale) if math.isfinite(field.timescale) else 20
    run = rt.mean_field(ens, steps=steps, Q0=float(np.max(Q)) if len(Q) == 1 else None)
    trajectories: Any = run.Q_t
    last = np.asarray(list(trajectories.values()) if hasattr(trajectories, "values") else [trajectories])[
        :, -1
    ]
    if np.any(np.abs(last - Q) > 0.02 * np.abs(Q) + 1e-6 + 3 * field.error):
        raise Wrong(f"Q = {Q}, but a trajectory ends at {last}")


def _check_eigenvalues(settings: Settings) -> None:
    """The radius is finite; that of a vanilla network is σ_w E[φ'²]^{1/2}."""
    ens = _ensemble(settings)
    field = rt.mean_field(ens)
    if not field.converged:
        raise NoState(field.message)
    radius = rt.spectral_radius(ens)
    if not math.isfinite(radius) or radius < 0:
        raise Wrong(f"radius {radius}")
    if "activation" not in settings:
        return
    deviation = math.sqrt(float(_values(field.q)[0]))
    if deviation == 0.0:  # difference quotients do not see the slope at a kink
        return
    phi, rng = _phi(ens), np.random.default_rng([settings["seed"], 3])
    e = settings["mu_b"] + deviation * checks.stratified_normals(100_000, rng)
    squares = settings["sigma_w"] ** 2 * _slope(phi, e)[0] ** 2
    if np.all(np.isfinite(squares)):
        scatter = 5 * float(np.std(squares)) / math.sqrt(e.size)
        unseen = 1e-4 * settings["sigma_w"] ** 2  # of rare values of φ'
        checks.close("radius²", radius**2, float(np.mean(squares)), 5e-3, scatter + unseen)


def _draw_critical(rng: np.random.Generator) -> Settings:
    cell = str(
        rng.choice(
            ["vanilla", "minimal", "mingru", "leaky", "gru", "mgu"], p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05]
        )
    )
    settings: Settings = {"cell": cell, "T": int(rng.choice([1, 10, 100])), "R": _number(rng, 0.2, 1.2)}
    settings["weights"] = str(rng.choice(["gaussian", "orthogonal"]))
    if cell == "vanilla":
        settings["activation"] = [
            "named",
            str(rng.choice(["tanh", "erf", "hard_tanh", "relu", "silu", "softsign"])),
        ]
    return settings


def _check_critical(settings: Settings) -> None:
    """χ of the point that was found is 1, by the mean field of its own ensemble."""
    cell = rt.VanillaRNN(settings["activation"][1]) if "activation" in settings else settings["cell"]
    try:
        point = rt.critical(cell, weights=settings["weights"], T=settings["T"], R=settings["R"])
    except rt.NoCriticalPointError as error:
        raise Unusable(str(error)) from None
    field = rt.mean_field(point.ensemble)
    if field.converged:
        checks.close("χ of the critical point", field.chi, 1.0, 1e-5, 3 * point.error)


KINDS = {
    "vanilla": Kind(0.42, _draw_vanilla, _check_vanilla, 30),
    "free": Kind(0.24, _draw_free, _check_free, 20),
    "gated": Kind(0.08, _draw_gated, _check_gated, 60),
    "tied": Kind(0.01, _draw_tied, _check_tied, 240),
    "mean field": Kind(0.15, _draw_field, _check_field, 60),
    "eigenvalues": Kind(0.09, _draw_field, _check_eigenvalues, 60),
    "critical": Kind(0.01, _draw_critical, _check_critical, 120),
}
