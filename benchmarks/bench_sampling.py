"""Cost of long products: products with factorisation, beside bare matrix products and one SVD.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_sampling.py [cpu|cuda] [N ...]   (T = 16; default: both, on the
CPU with 256 512 1024, on a GPU with 4096 8192 16384)

Each line is one process on one set of matrices: "bare" multiplies the factors with ``@`` and calls one
``svd`` (all values below ε·s_max are noise); "LogProduct" gives all values to high relative accuracy, with
the error that it states itself. The ratio is the one to compare between machines. Best of three runs,
interleaved, in seconds of CPU time (of real time on a GPU, where a plain PyTorch loop joins in if PyTorch is
installed; best of two from N = 8192 on, after one run to warm up).
"""

from __future__ import annotations

import datetime
import importlib
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn._core import random as _random
from rmtrnn.sampling.network import Network
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.random_matrices import random_matrix

T, REPEATS = 16, 3
ENSEMBLES = {
    "linear, Gaussian": rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0),
    "tanh, orthogonal, near critical": rt.Ensemble(
        "vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal"
    ),
    "tanh, Gaussian, near critical": rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05),
    "minimalRNN": rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46),
}


def factors_of(ens: rt.Ensemble, n: int, xp: Any) -> list[Any]:
    """The Jacobians of T steps, as matrices."""
    if ens.cell.name == "vanilla" and not ens.cell.stages[0].b.free_symbols:
        return [random_matrix("gaussian", n, 1.0, _random.stream(1, step), xp) for step in range(T)]
    network = Network(ens, n, 1, 0, xp, "float64")
    network.run(200)
    return [network.step().matrix() for _ in range(T)]


def bare(factors: list[Any], xp: Any) -> None:
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    _arrays.to_host(xp.linalg.svd(product, compute_uv=False))


def accurate(factors: list[Any], xp: Any) -> LogProduct:
    product = LogProduct(len(factors[0]), xp)
    for factor in factors:
        product.multiply(factor)
    product.log_singular_values()
    return product


def torch_loop(factors: list[Any]) -> Callable[[], Any] | None:
    """The plain loop in PyTorch on the same card; None without it."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    tensors = [torch.from_dlpack(factor) for factor in factors]  # the same memory

    def run() -> Any:
        product = tensors[0]
        for factor in tensors[1:]:
            product = factor @ product
        return torch.linalg.svdvals(product).cpu()

    return run


def best(runs: dict[str, Callable[[], Any]], clock: Callable[[], float], repeats: int) -> dict[str, float]:
    times = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            times[name] = min(times[name], clock() - start)
    return times


def table(device: str, sizes: list[int]) -> None:
    xp = _arrays.module_for(device)
    print(f"\n{device}: T = {T}\n")
    print("| ensemble | N | bare | LogProduct | ratio | stated error | groups | PyTorch |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for label, ens in ENSEMBLES.items():
        for n in sizes:
            factors = factors_of(ens, n, xp)
            product = accurate(factors, xp)
            runs: dict[str, Callable[[], Any]] = {
                "bare": lambda factors=factors: bare(factors, xp),
                "accurate": lambda factors=factors: accurate(factors, xp),
            }
            loop = torch_loop(factors) if device == "cuda" else None
            times = best(
                runs | ({"torch": loop} if loop else {}),
                time.process_time if device == "cpu" else time.perf_counter,
                REPEATS if n < 8192 else 2,
            )
            first, second = times["bare"], times["accurate"]
            third = f"{times['torch']:.3f} s" if "torch" in times else "-"
            print(
                f"| {label} | {n} | {first:.3f} s | {second:.3f} s | {second / first:.2f} "
                f"| {product.error:.0e} | {product.groups} | {third} |",
                flush=True,
            )


def processor() -> str:
    """The name of the CPU, as Linux gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def main() -> None:
    devices = [argument for argument in sys.argv[1:] if argument in ("cpu", "cuda")] or ["cpu", "cuda"]
    sizes = [int(argument) for argument in sys.argv[1:] if argument not in ("cpu", "cuda")]
    today = datetime.date.today().isoformat()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    print(f"{today}, {processor()}, {versions}, rmtrnn {rt.__version__}")
    if "cpu" in devices:
        table("cpu", sizes or [256, 512, 1024])
    if "cuda" not in devices:
        return
    if _arrays.cuda_available():
        cupy = _arrays.module_for("cuda")
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"\n{name}, CuPy {cupy.__version__}")
        table("cuda", sizes or [4096, 8192, 16384])
    else:
        print(f"\nGPU: none available on {today}, not measured")


if __name__ == "__main__":
    main()
