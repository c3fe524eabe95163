# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""The cells everyone uses. Each is its equations; e_k = W_k·reads_k + V_k x + b_k throughout.

1 - σ(e) is written σ(-e), which keeps its relative digits when the gate is nearly open.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sympy

from rmtrnn._core import validate as _validate
from rmtrnn.cells.activation import Activation
from rmtrnn.cells.cell import Cell, Gate, Stage
from rmtrnn.cells.functions import logistic, softplus

h, c, x, u, v = (sympy.Symbol(name, real=True) for name in ("h", "c", "x", "u", "v"))


def _gate(name: str, reads: Any) -> Gate:
    return Gate(name, sympy.Symbol("e" if name == "e" else f"e_{name}"), sympy.sympify(reads))


class _LibraryCell(Cell):
    """A cell that is known by its name and options, in print and in files."""

    options: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the options as plain JSON types."""
        return {"library": self.name, "options": dict(self.options)}

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"rt.{type(self).__name__}({options})"


class VanillaRNN(_LibraryCell):
    """h' = φ(e), e = W h + V x + b. State (h,), gate "e".

    ``activation``: a name (linear, tanh, erf, relu, hard_tanh, sigmoid, softsign, silu, gelu), a SymPy
    expression in one symbol, or an `Activation`; kept as ``cell.activation``.

    >>> rt.VanillaRNN("erf").activation.expr
    erf(z)
    """

    activation: Activation

    def __init__(self, activation: str | sympy.Expr | Activation = "tanh") -> None:
        phi = Activation(activation)
        e = _gate("e", h)
        super().__init__(
            "vanilla", state=h, input=x, gates=[e], update=phi.expr.xreplace({phi.symbol: e.symbol})
        )
        self.__dict__.update(activation=phi, options={"activation": phi.to_dict()})

    def _key(self) -> tuple[Any, ...]:
        # Kinks that were declared, not found, are part of what quadrature relies on.
        return *super()._key()[:-1], self.activation.breakpoints

    def __repr__(self) -> str:
        phi = self.activation
        return f"rt.VanillaRNN(activation={repr(phi.name) if phi.is_named else repr(phi)})"


class MinimalRNN(_LibraryCell):
    """u = σ(e), h' = u h + (1 - u) x, e = W h + V x + b. State (h,), gate "e".

    >>> rt.MinimalRNN().gates
    ('e',)
    """

    def __init__(self) -> None:
        e = _gate("e", h)
        update = logistic(e.symbol) * h + logistic(-e.symbol) * x
        super().__init__("minimal", state=h, input=x, gates=[e], update=update)
        self.__dict__.update(options={})


class GRU(_LibraryCell):
    """h' = u h + (1 - u) tanh(e_c), r = σ(e_r), u = σ(e_u). State (h,).

    ``reset_after=False``: e_c = W_c (r h) + V_c x + b_c (Cho et al. 2014). Gates "r", "u", "c"; two stages,
    (h) → (h, v = r h, u) and (h, v, u) → h'.

    ``reset_after=True``: the candidate is tanh(e_i + r e_c), with the recurrent part e_c = W_c h + b_c reset
    after the product (cuDNN, PyTorch) and the input part e_i = V_i x + b_i a gate "i" that reads nothing.
    Gates "r", "u", "c", "i"; one stage. PyTorch's cell has σ_v = 0 for "c": give
    ``sigma_v={"r": …, "u": …, "c": 0.0, "i": …}``; W_i multiplies zero, whatever its scale.

    >>> len(rt.GRU().stages), len(rt.GRU(reset_after=True).stages)
    (2, 1)
    """

    def __init__(self, reset_after: bool = False) -> None:
        _validate.boolean("reset_after", reset_after)
        reset, keep, candidate, fed = _gate("r", h), _gate("u", h), _gate("c", h), _gate("i", 0)
        if reset_after:
            proposal = sympy.tanh(fed.symbol + logistic(reset.symbol) * candidate.symbol)
            super().__init__(
                "gru",
                state=h,
                input=x,
                gates=[reset, keep, candidate, fed],
                update=logistic(keep.symbol) * h + logistic(-keep.symbol) * proposal,
            )
        else:
            candidate = _gate("c", v)
            stages = [
                Stage(h, (h, v, u), [reset, keep], (h, logistic(reset.symbol) * h, logistic(keep.symbol))),
                Stage((h, v, u), h, [candidate], u * h + (1 - u) * sympy.tanh(candidate.symbol)),
            ]
            super().__init__("gru", state=h, input=x, stages=stages)
        self.__dict__.update(options={"reset_after": reset_after})


class LSTM(_LibraryCell):
    """c' = σ(e_f) c + σ(e_i) tanh(e_g), h' = σ(e_o) tanh(c'). State (c, h), gates "f", "i", "o", "g".

    ``peephole=False``: every pre-activation reads h. ``peephole=True``: every pre-activation reads the cell
    state c instead of h, the variant of Gilboa et al. (2019); h is then an output that feeds nothing back.

    >>> rt.LSTM().state, rt.LSTM().gates
    ((c, h), ('f', 'i', 'o', 'g'))
    """

    def __init__(self, peephole: bool = False) -> None:
        _validate.boolean("peephole", peephole)
        f, i, o, g = (_gate(name, c if peephole else h) for name in "fiog")
        memory = logistic(f.symbol) * c + logistic(i.symbol) * sympy.tanh(g.symbol)
        update = {c: memory, h: logistic(o.symbol) * sympy.tanh(memory)}
        super().__init__("lstm", state=(c, h), input=x, gates=[f, i, o, g], update=update)
        self.__dict__.update(options={"peephole": peephole})


class Leaky(_LibraryCell):
    """The leaky network with step δ: h' = (1 - δ) h + δ φ. State (h,), gate "e".

    ``form="rate"``: φ = tanh(e), e = W h + V x + b, the firing-rate model and the echo state network.
    ``form="current"``: φ = e, e = W tanh(h) + V x + b, the model of Sompolinsky, Crisanti and Sommers (1988)
    in steps of δ. ``delta`` in (0, 1].

    >>> rt.Leaky(0.25, form="current").stages[0].update
    (0.25*e + 0.75*h,)
    """

    def __init__(self, delta: float = 0.25, form: str = "rate") -> None:
        delta = _validate.real("delta", delta, low=0.0, high=1.0, low_open=True)
        _validate.choice("form", form, ("rate", "current"))
        e = _gate("e", h if form == "rate" else sympy.tanh(h))
        drive = sympy.tanh(e.symbol) if form == "rate" else e.symbol
        super().__init__("leaky", state=h, input=x, gates=[e], update=(1 - delta) * h + delta * drive)
        self.__dict__.update(options={"delta": delta, "form": form})


class MinGRU(_LibraryCell):
    """h' = (1 - z) h + z e_c, z = σ(e_z); both gates read the input only. State (h,), gates "z", "c".

    Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024, arXiv:2410.01201), without their positive candidate.

    >>> rt.MinGRU().gates
    ('z', 'c')
    """

    def __init__(self) -> None:
        z, candidate = _gate("z", 0), _gate("c", 0)
        update = logistic(-z.symbol) * h + logistic(z.symbol) * candidate.symbol
        super().__init__("mingru", state=h, input=x, gates=[z, candidate], update=update)
        self.__dict__.update(options={})


class MinLSTM(_LibraryCell):
    """h' = (f h + i e_g)/(f + i), f = σ(e_f), i = σ(e_i); all gates read the input only. State (h,).

    Gates "f", "i", "g". Feng et al. (2024, arXiv:2410.01201), with their length-independent scaling.

    >>> rt.MinLSTM().gates
    ('f', 'i', 'g')
    """

    def __init__(self) -> None:
        f, i, g = (_gate(name, 0) for name in "fig")
        log_ratio = softplus(-i.symbol) - softplus(-f.symbol)  # log f - log i
        update = logistic(log_ratio) * h + logistic(-log_ratio) * g.symbol
        super().__init__("minlstm", state=h, input=x, gates=[f, i, g], update=update)
        self.__dict__.update(options={})


class MGU(_LibraryCell):
    """h' = (1 - f) h + f tanh(e_c), f = σ(e_f), e_c = W_c (f h) + V_c x + b_c. State (h,), gates "f", "c".

    The minimal gated unit of Zhou, Wu, Zhang and Zhou (2016, arXiv:1603.09420): two stages.

    >>> len(rt.MGU().stages)
    2
    """

    def __init__(self) -> None:
        f, candidate = _gate("f", h), _gate("c", v)
        stages = [
            Stage(h, (h, v, u), [f], (h, logistic(f.symbol) * h, logistic(f.symbol))),
            Stage((h, v, u), h, [candidate], (1 - u) * h + u * sympy.tanh(candidate.symbol)),
        ]
        super().__init__("mgu", state=h, input=x, stages=stages)
        self.__dict__.update(options={})


class UGRNN(_LibraryCell):
    """h' = g h + (1 - g) tanh(e_c), g = σ(e_g). State (h,), gates "g", "c".

    The update gate network of Collins, Sohl-Dickstein and Sussillo (2017, arXiv:1611.09913).

    >>> rt.UGRNN().gates
    ('g', 'c')
    """

    def __init__(self) -> None:
        g, candidate = _gate("g", h), _gate("c", h)
        update = logistic(g.symbol) * h + logistic(-g.symbol) * sympy.tanh(candidate.symbol)
        super().__init__("ugrnn", state=h, input=x, gates=[g, candidate], update=update)
        self.__dict__.update(options={})


class JANET(_LibraryCell):
    """h' = σ(e_f) h + (1 - σ(e_f - β)) tanh(e_c). State (h,), gates "f", "c".

    The forget gate alone, van der Westhuizen and Lasenby (2018, arXiv:1804.04849); their β is 1.

    >>> rt.JANET(beta=1.0).gates
    ('f', 'c')
    """

    def __init__(self, beta: float = 1.0) -> None:
        beta = _validate.real("beta", beta)
        f, candidate = _gate("f", h), _gate("c", h)
        update = logistic(f.symbol) * h + logistic(beta - f.symbol) * sympy.tanh(candidate.symbol)
        super().__init__("janet", state=h, input=x, gates=[f, candidate], update=update)
        self.__dict__.update(options={"beta": beta})


class CFN(_LibraryCell):
    """h' = θ tanh(h) + η tanh(e_c), θ = σ(e_t), η = σ(e_i). State (h,), gates "t", "i", "c".

    The chaos free network of Laurent and von Brecht (2017, arXiv:1612.06212); gate "c" reads the input only.

    >>> rt.CFN().gates
    ('t', 'i', 'c')
    """

    def __init__(self) -> None:
        t, i, candidate = _gate("t", h), _gate("i", h), _gate("c", 0)
        update = logistic(t.symbol) * sympy.tanh(h) + logistic(i.symbol) * sympy.tanh(candidate.symbol)
        super().__init__("cfn", state=h, input=x, gates=[t, i, candidate], update=update)
        self.__dict__.update(options={})


LIBRARY: dict[str, Callable[..., _LibraryCell]] = {
    "vanilla": VanillaRNN,
    "minimal": MinimalRNN,
    "gru": GRU,
    "gru_reset_after": functools.partial(GRU, reset_after=True),
    "lstm": LSTM,
    "lstm_peephole": functools.partial(LSTM, peephole=True),
    "leaky": Leaky,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "mgu": MGU,
    "ugrnn": UGRNN,
    "janet": JANET,
    "cfn": CFN,
}


def library_cell(record: Mapping[str, Any]) -> Cell:
    """Return the cell of a record ``{"library": name, "options": {...}}``."""
    name = _validate.choice("library", record["library"], LIBRARY)
    options = dict(record.get("options", {}))
    unknown = sorted(set(options) - set(LIBRARY[name]().options))
    if unknown:
        raise ValueError(f"cell record: {unknown} are not options of the cell {name!r}")
    if "activation" in options:
        options["activation"] = Activation.from_dict(options["activation"])
    return LIBRARY[name](**options)
