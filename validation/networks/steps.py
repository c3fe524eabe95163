"""Several networks of one cell run at once, forwards and backwards through time, on one thread (PyTorch).

A network of N = 128 units and 16 sequences makes small matrix products, between which calls and memory take
as long as the arithmetic. Here M networks of equal shape share every call; the state, the constant 1 and the
input of a step lie side by side, so that one product gives the fields of all gates with biases and inputs,
and one more product over all steps gives the gradient of all weights. Every buffer and every view of it is
made once. The networks do not see each other.

Letters: M, networks; T, steps; B, sequences; N, units; n, inputs. Parameters of a network lie in one row of
an (M, size) tensor; `Layout` cuts it into matrices. Inputs x are (M, T, B, n), or (1, T, B, n) for all alike.
Gates by columns: GRU r, u, c, and a matrix of the input part of the candidate (PyTorch's variant, whose reset
gate acts after the product); LSTM i, f, o, g.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the matrices of one network, in the order in which they lie in its row."""

    shapes: dict[str, tuple[int, int]]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(rows * columns for rows, columns in self.shapes.values())

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """The matrices (M, rows, columns) in ``flat`` (M, size), without a copy."""
        found, start = {}, 0
        for name, (rows, columns) in self.shapes.items():
            end = start + rows * columns
            found[name] = flat[:, start:end].unflatten(1, (rows, columns))
            start = end
        return found


class Cell:
    """Buffers of M networks and their steps; see the subclasses for the equations.

    ``forward(weights, x)``: x (M or 1, T, B, n) → states and ones (M, T + 1, B, N + 1), h^0 = 0.
    ``backward(weights, gradients, of_states)``: from ∂loss/∂h of the last steps, (M, K, B, N), write the
    gradient of every matrix of the cell.
    ``like`` : a tensor of the numbers' kind and place.
    """

    gates = 1

    def __init__(self, M: int, T: int, B: int, N: int, inputs: int, like: torch.Tensor) -> None:
        self.M, self.T, self.B, self.N, self.inputs = M, T, B, N, inputs
        self.fed = self.fed_size(N, inputs)
        self.S = like.new_zeros((M, T + 1, B, N + 1 + self.fed))
        self.S[..., N] = 1.0
        self.F = like.new_empty((M, T, B, self.gates * N))
        self.rows = self.S.unbind(1)
        self.states = self.S[..., :N].unbind(1)
        self.fields = self.F.unbind(1)
        self.product = like.new_empty((M, B, self.gates * N))
        self.carry = like.new_empty((M, B, N))

    @classmethod
    def fed_size(cls, N: int, inputs: int) -> int:
        """Numbers that the gates read beside the state."""
        return inputs

    @classmethod
    def shapes(cls, N: int, inputs: int) -> dict[str, tuple[int, int]]:
        """The matrices of the cell: "W" has the rows of the state, of the bias and of the input."""
        return {"W": (N + 1 + cls.fed_size(N, inputs), cls.gates * N)}

    def forward(self, weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        self.feed(weights, x)
        W, product = weights["W"], self.product
        for t in range(self.T):
            torch.bmm(self.rows[t], W, out=product)
            self.step(t)
        return self.S[..., : self.N + 1]

    def backward(
        self, weights: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor], of_states: torch.Tensor
    ) -> None:
        back = weights["W"][:, : self.N].transpose(1, 2).contiguous()
        first = self.T - of_states.shape[1]
        later = of_states.unbind(1)
        g = torch.zeros_like(self.carry)
        self.start()
        for t in range(self.T - 1, -1, -1):
            if t >= first:
                g += later[t - first]
            if self.step_back(t, g):
                torch.baddbmm(self.carry, self.fields[t], back, out=g)
            else:
                torch.bmm(self.fields[t], back, out=g)
        torch.bmm(self.S[:, : self.T].flatten(1, 2).transpose(1, 2), self.F.flatten(1, 2), out=gradients["W"])
        self.finish(weights, gradients)

    def feed(self, weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        """Put the inputs beside the states."""
        self.S[:, : self.T, :, self.N + 1 :] = x

    def step(self, t: int) -> None:
        """From ``product``, the fields of step t, to the state of step t + 1."""
        raise NotImplementedError

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        """From g = ∂loss/∂h^{t+1}: the gradient of the fields, and what goes past the gates, if anything."""
        raise NotImplementedError

    def start(self) -> None:
        """Before the way back."""

    def finish(self, weights: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> None:
        """After the way back: gradients of further matrices."""


class Vanilla(Cell):
    """h' = tanh(e)."""

    def step(self, t: int) -> None:
        torch.tanh(self.product, out=self.states[t + 1])

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        aten.tanh_backward.grad_input(g, self.states[t + 1], grad_input=self.fields[t])
        return False


class BareMinimal(Cell):
    """u = σ(e), h' = u h + (1 − u) x: minimalRNN without a map of its inputs, of which there are N."""

    def feed(self, weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        self.z = x.unbind(1)
        super().feed(weights, x)

    def step(self, t: int) -> None:
        u = self.fields[t]
        torch.sigmoid(self.product, out=u)
        torch.lerp(self.z[t], self.states[t], u, out=self.states[t + 1])

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        u = self.fields[t]
        torch.mul(g, u, out=self.carry)
        torch.sub(self.states[t], self.z[t], out=self.product).mul_(g)
        aten.sigmoid_backward.grad_input(self.product, u, grad_input=u)
        return True


class Minimal(BareMinimal):
    """minimalRNN of z = tanh(Z [1, x]) in the place of x."""

    def __init__(self, M: int, T: int, B: int, N: int, inputs: int, like: torch.Tensor) -> None:
        super().__init__(M, T, B, N, inputs, like)
        self.read = like.new_ones((M, T, B, 1 + inputs))
        self.Z, self.of_Z = like.new_empty((M, T, B, N)), like.new_empty((M, T, B, N))
        self.of_z = self.of_Z.unbind(1)

    @classmethod
    def fed_size(cls, N: int, inputs: int) -> int:
        return N

    @classmethod
    def shapes(cls, N: int, inputs: int) -> dict[str, tuple[int, int]]:
        return super().shapes(N, inputs) | {"Z": (1 + inputs, N)}

    def feed(self, weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        self.read[..., 1:] = x
        torch.bmm(self.read.flatten(1, 2), weights["Z"], out=self.Z.flatten(1, 2))
        super().feed(weights, self.Z.tanh_())

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        past = super().step_back(t, g)
        torch.sub(g, self.carry, out=self.of_z[t])
        return past

    def finish(self, weights: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> None:
        input_part = weights["W"][:, self.N + 1 :].transpose(1, 2).contiguous()
        of_z = self.of_Z.flatten(1, 2)
        torch.baddbmm(of_z, self.F.flatten(1, 2), input_part, out=of_z)
        z = self.Z.flatten(1, 2)
        aten.tanh_backward.grad_input(of_z, z, grad_input=z)
        torch.bmm(self.read.flatten(1, 2).transpose(1, 2), z, out=gradients["Z"])


class GRU(Cell):
    """r, u = σ(e_r), σ(e_u), h' = u h + (1 − u) tanh(e_i + r e_c), e_i = C [1, x]."""

    gates = 3

    def __init__(self, M: int, T: int, B: int, N: int, inputs: int, like: torch.Tensor) -> None:
        super().__init__(M, T, B, N, inputs, like)
        self.P = like.new_empty((M, T, B, N))
        self.candidates = self.P.unbind(1)
        self.product_ru, self.product_c = self.product[..., : 2 * N], self.product[..., 2 * N :]
        self.ru = self.F[..., : 2 * N].unbind(1)
        self.r, self.u = self.F[..., :N].unbind(1), self.F[..., N : 2 * N].unbind(1)
        self.c = self.F[..., 2 * N :].unbind(1)

    @classmethod
    def shapes(cls, N: int, inputs: int) -> dict[str, tuple[int, int]]:
        return super().shapes(N, inputs) | {"C": (1 + inputs, N)}

    def feed(self, weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        super().feed(weights, x)
        read = self.S[:, : self.T, :, self.N :].flatten(1, 2)
        torch.bmm(read, weights["C"], out=self.P.flatten(1, 2))

    def step(self, t: int) -> None:
        torch.sigmoid(self.product_ru, out=self.ru[t])
        self.c[t].copy_(self.product_c)
        n = self.candidates[t]
        n.addcmul_(self.r[t], self.product_c).tanh_()
        torch.lerp(n, self.states[t], self.u[t], out=self.states[t + 1])

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        n, r, u, c, N = self.candidates[t], self.r[t], self.u[t], self.c[t], self.N
        of_r, of_u, scratch = self.product[..., :N], self.product[..., N : 2 * N], self.product_c
        torch.mul(g, u, out=self.carry)
        torch.sub(self.states[t], n, out=of_u).mul_(g)
        torch.sub(g, self.carry, out=scratch)
        aten.tanh_backward.grad_input(scratch, n, grad_input=n)
        torch.mul(n, c, out=of_r)
        torch.mul(n, r, out=c)
        aten.sigmoid_backward.grad_input(self.product_ru, self.ru[t], grad_input=self.ru[t])
        return True

    def finish(self, weights: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> None:
        gradients["W"][:, self.N + 1 :, 2 * self.N :] = 0.0  # e_c reads no input
        read = self.S[:, : self.T, :, self.N :].flatten(1, 2)
        torch.bmm(read.transpose(1, 2), self.P.flatten(1, 2), out=gradients["C"])


class LSTM(Cell):
    """i, f, o = σ(e_i), σ(e_f), σ(e_o), c' = f c + i tanh(e_g), h' = o tanh(c')."""

    gates = 4

    def __init__(self, M: int, T: int, B: int, N: int, inputs: int, like: torch.Tensor) -> None:
        super().__init__(M, T, B, N, inputs, like)
        self.C, self.Q = like.new_zeros((M, T + 1, B, N)), like.new_empty((M, T, B, N))
        self.c, self.q = self.C.unbind(1), self.Q.unbind(1)
        self.product_ifo, self.product_g = self.product[..., : 3 * N], self.product[..., 3 * N :]
        self.ifo = self.F[..., : 3 * N].unbind(1)
        self.i, self.f, self.o, self.g = (part.unbind(1) for part in self.F.split(N, dim=-1))
        self.scratch = like.new_empty((M, B, N))

    def start(self) -> None:
        self.carry.zero_()

    def step(self, t: int) -> None:
        torch.sigmoid(self.product_ifo, out=self.ifo[t])
        torch.tanh(self.product_g, out=self.g[t])
        c = self.c[t + 1]
        torch.mul(self.f[t], self.c[t], out=c).addcmul_(self.i[t], self.g[t])
        torch.tanh(c, out=self.q[t])
        torch.mul(self.o[t], self.q[t], out=self.states[t + 1])

    def step_back(self, t: int, g: torch.Tensor) -> bool:
        of_c, scratch, q, N = self.carry, self.scratch, self.q[t], self.N
        torch.mul(g, self.o[t], out=scratch)
        aten.tanh_backward.grad_input(scratch, q, grad_input=scratch)
        of_c += scratch
        torch.mul(of_c, self.g[t], out=self.product[..., :N])
        torch.mul(of_c, self.c[t], out=self.product[..., N : 2 * N])
        torch.mul(g, q, out=self.product[..., 2 * N : 3 * N])
        torch.mul(of_c, self.i[t], out=scratch)
        of_c *= self.f[t]
        aten.sigmoid_backward.grad_input(self.product_ifo, self.ifo[t], grad_input=self.ifo[t])
        aten.tanh_backward.grad_input(scratch, self.g[t], grad_input=self.g[t])
        return False


CELLS: dict[str, type[Cell]] = {
    "vanilla": Vanilla,
    "bare minimal": BareMinimal,
    "minimal": Minimal,
    "gru": GRU,
    "lstm": LSTM,
}


@functools.cache
def layout(cell: str, N: int, inputs: int, outputs: int) -> Layout:
    """The matrices of the cell and "out", the readout of [h, 1]."""
    return Layout(CELLS[cell].shapes(N, inputs) | {"out": (N + 1, outputs)})
