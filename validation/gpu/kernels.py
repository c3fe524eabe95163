"""Kernels: those of every cell compile for real cards, by NVIDIA's compiler and without a device.

The compiler comes as a wheel (``pip install nvidia-cuda-nvrtc-cu12``). On a card CuPy compiles the kernels
itself, so these jobs belong to the stand-in.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import rmtrnn as rt
from rmtrnn.cells import LIBRARY
from validation.gpu.device import Device
from validation.gpu.record import Job

ARCHITECTURES = ("sm_80", "sm_90")  # A100; H100 and H200
TYPES = {"float64": "double", "float32": "float"}
# Every element is one thread, as in the kernel that CuPy writes around the same statements.
SOURCE = """typedef {real} T;
{preamble}
extern "C" __global__ void run(long long size, const T *const *given, T *const *made) {{
    const long long at = blockIdx.x * (long long) blockDim.x + threadIdx.x;
    if (at >= size) return;
    {references}
    {operation};
}}
"""


class Kernel(NamedTuple):
    """What is handed to `cupy.ElementwiseKernel`."""

    inputs: str
    outputs: str
    operation: str
    name: str
    preamble: str = ""

    def source(self, real: str) -> str:
        """The whole CUDA program."""
        lists = [[part.split()[1] for part in text.split(", ")] for text in (self.inputs, self.outputs)]
        references = [f"const T &{name} = given[{k}][at];" for k, name in enumerate(lists[0])]
        references += [f"T &{name} = made[{k}][at];" for k, name in enumerate(lists[1])]
        return SOURCE.format(
            real=real, preamble=self.preamble, references=" ".join(references), operation=self.operation
        )


def jobs(device: Device) -> list[Job]:
    """One for each cell of the library; none without the compiler, or on a card."""
    if not device.stand_in or _compiler() is None:
        return []
    return [Job(f"kernels, {cell}", lambda device: 10.0, _find(cell), _compiled) for cell in LIBRARY]


def _compiled(found: Any) -> bool:
    return found["kernels"] > 0 and not found["errors"]


def _find(cell: str) -> Any:
    def find(device: Device) -> dict[str, Any]:
        kernels = used_kernels(device, rt.Ensemble(cell, sigma_w=1.1, sigma_v=0.5))
        logs = [
            compile_error(kernel.source(real), architecture)
            for kernel in kernels for real in TYPES.values() for architecture in ARCHITECTURES
        ]  # fmt: skip
        errors = [log for log in logs if log]
        return {"kernels": len(kernels), "programs": len(logs), "errors": errors}

    return find


def used_kernels(device: Device, ens: rt.Ensemble) -> list[Kernel]:
    """The kernels that a sampled network of this ensemble uses, unless this process has made them before."""
    made, seen = device.xp.ElementwiseKernel, []

    def recorded(*arguments: str, **options: str) -> Any:
        seen.append(Kernel(*arguments, **options))
        return made(*arguments, **options)

    device.xp.ElementwiseKernel = recorded
    try:
        rt.sample(ens, T=2, N=8, trials=1, burn_in=1, device="cuda")
    finally:
        device.xp.ElementwiseKernel = made
    return seen


def _compiler() -> Path | None:
    """The library of the wheel, if it is installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [path for one in folders for path in Path(one).glob("cuda_nvrtc/lib/libnvrtc.so*")]
    return min(found, default=None)


@cache
def _library() -> ctypes.CDLL:
    path = _compiler()
    if path is None:
        raise RuntimeError("NVIDIA's compiler is not installed: pip install nvidia-cuda-nvrtc-cu12")
    return ctypes.CDLL(str(path))


def compile_error(source: str, architecture: str) -> str:
    """What the compiler says of a program that it refuses, "" if it makes machine code of it."""
    nvrtc, program = _library(), ctypes.c_void_p()
    created = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    if created:
        return f"nvrtcCreateProgram: error {created}"
    try:
        options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
        status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 2)(*options))
        size = ctypes.c_size_t()
        if status:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            return log.value.decode() or f"error {status}"
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        return "" if size.value else "no machine code"
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
