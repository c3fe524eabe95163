"""Step Jacobians of PyTorch modules along a sequence of inputs, by automatic differentiation in float64.

A step is one call of the module: of a cell like `torch.nn.GRUCell`, ``state' = module(x, state)``, or of a
layer like `torch.nn.GRU`, ``_, state' = module(x of one step, state)``. The state is a tensor or a tuple of
tensors (LSTM: h and c). J is the Jacobian of the whole state, all layers and tensors stacked.

The rows of J cost one backward pass: the state is repeated in a batch of as many copies as it has entries,
and copy i is differentiated at its entry i. So samples of a batch must not depend on each other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def step_jacobians(
    module: torch.nn.Module, sequence: np.ndarray, first: int, state: Any
) -> tuple[int, Iterator[np.ndarray]]:
    """The size of the module's state, and J of the steps from ``first`` on along (steps, inputs)."""
    steps = TorchSteps(module, sequence[0], state)

    def jacobians() -> Iterator[np.ndarray]:
        for number, x in enumerate(sequence):
            if number < first:
                steps.run(x)
            else:
                yield steps.step(x)

    return steps.size, jacobians()


class TorchSteps:
    """A module that is stepped along its inputs: ``step(x)`` advances and returns J of that step.

    ``size``: number of entries of the whole state.

    example : an input, (inputs,), to find the shape of the state with.
    module : recurrent `torch.nn.Module`; a copy in float64 and evaluation mode is used (no dropout).
    state : tensor, array or tuple of them in the module's own layout for one sequence, with or without the
        batch axis of length 1; None starts from zeros.

    Raises ValueError for a bidirectional module, whose state at a step depends on later inputs.
    """

    def __init__(self, module: torch.nn.Module, example: np.ndarray, state: Any = None) -> None:
        if getattr(module, "bidirectional", False):
            raise ValueError("module: is bidirectional; the Jacobian of one step needs one direction")
        self._module = copy.deepcopy(module).double().eval().cpu().requires_grad_(False)
        self._is_cell = isinstance(module, torch.nn.RNNCellBase)
        self._batch = 0 if self._is_cell else 1
        self._batch_first = bool(getattr(module, "batch_first", False))
        shape = [torch.zeros_like(part) for part in self._called(self._input(example), None)]
        given = shape if state is None else [self._one(part) for part in _parts(state)]
        if [part.shape for part in given] != [part.shape for part in shape]:
            raise ValueError(
                f"state: has shapes {[tuple(part.shape) for part in given]}; must have "
                f"{[tuple(part.shape) for part in shape]}"
            )
        self._state: tuple[torch.Tensor, ...] = tuple(given)
        self.size = sum(part.numel() for part in given)

    def run(self, x: np.ndarray) -> None:
        """Advance the state by the input x, (inputs,)."""
        self._state = self._called(self._input(x), self._state)

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance the state by the input x, (inputs,); return J of the step, (size, size)."""
        inputs = self._input(x)
        copies = tuple(self._copied(part).requires_grad_(True) for part in self._state)
        after = self._called(inputs.expand(self.size, -1), copies)
        flat = torch.cat([self._rows(part) for part in after], dim=1)
        gradients = torch.autograd.grad(flat.diagonal().sum(), copies, materialize_grads=True)
        self._state = tuple(part.detach().narrow(self._batch, 0, 1).contiguous() for part in after)
        return torch.cat([self._rows(part) for part in gradients], dim=1).numpy()

    @staticmethod
    def _input(x: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(x, dtype=np.float64))[None]

    def _called(self, inputs: torch.Tensor, state: tuple[torch.Tensor, ...] | None) -> tuple[Any, ...]:
        """The state after one step of a batch of inputs, (batch, inputs)."""
        given = state[0] if state is not None and len(state) == 1 else state
        if self._is_cell:
            return _parts(self._module(inputs, given))
        steps = inputs[:, None] if self._batch_first else inputs[None]
        return _parts(self._module(steps, given)[1])

    def _one(self, part: Any) -> torch.Tensor:
        """One tensor of a given state, with its batch axis."""
        tensor = torch.as_tensor(np.asarray(part, dtype=np.float64))
        return tensor.unsqueeze(self._batch) if tensor.dim() == self._batch + 1 else tensor

    def _copied(self, part: torch.Tensor) -> torch.Tensor:
        shape = list(part.shape)
        shape[self._batch] = self.size
        return part.expand(shape).clone()

    def _rows(self, part: torch.Tensor) -> torch.Tensor:
        """(batch, entries of the state)."""
        return part.movedim(self._batch, 0).reshape(part.shape[self._batch], -1)


def _parts(state: Any) -> tuple[Any, ...]:
    return tuple(state) if isinstance(state, tuple | list) else (state,)
