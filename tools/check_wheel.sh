#!/usr/bin/env bash
# Build the sdist and the wheel of what is committed, and try the wheel as a user would: in empty environments,
# from an empty folder, with each interpreter and each extra.
#
#   tools/check_wheel.sh                   # python3.11 python3.12 python3.13; extras certify, sweep, tables, completion
#   PYTHONS="python3.12" EXTRAS="certify torch cuda12" tools/check_wheel.sh
#   KEEP=dist tools/check_wheel.sh                         # also copy the sdist and the wheel to dist/
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
pythons=${PYTHONS:-python3.11 python3.12 python3.13}
extras=${EXTRAS-certify sweep tables completion}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1
unset PYTHONPATH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
first=${pythons%% *}

echo "== build"
git clone --quiet "$here" "$scratch/checkout"
"$first" -m venv "$scratch/build"
"$scratch/build/bin/python" -m pip install --quiet build twine
"$scratch/build/bin/python" -W ignore -m build --outdir "$scratch/dist" "$scratch/checkout" > "$scratch/build.log" 2>&1 ||
    { tail -n 40 "$scratch/build.log" >&2; exit 1; }
"$scratch/build/bin/python" -m twine check --strict "$scratch"/dist/*
wheel=$(echo "$scratch"/dist/*.whl) sdist=$(echo "$scratch"/dist/*.tar.gz)

# The wheel holds the package, all of it, and nothing else; the sdist holds what the studies and the tests need.
(cd "$scratch/checkout" && git ls-files rmtrnn | sort) > "$scratch/committed"
"$first" -m zipfile -l "$wheel" | awk 'NR > 1 {print $1}' | sort > "$scratch/packed"
if ! diff "$scratch/committed" <(grep -v '\.dist-info/' "$scratch/packed"); then
    echo "the wheel does not hold exactly the committed package" >&2
    exit 1
fi
tar -tzf "$sdist" > "$scratch/source"
for needed in validation/__main__.py tests/conftest.py docs/theory.md examples/cells/gru.cell LICENSE CITATION.cff; do
    grep -q "/$needed\$" "$scratch/source" || { echo "the sdist lacks $needed" >&2; exit 1; }
done
if grep -E '\.(pyc|npz)$|/\.(git|cache|venv)/' "$scratch/source"; then
    echo "the sdist holds what it should not" >&2
    exit 1
fi

try() { # try INTERPRETER REQUIREMENT CHECK: a fresh environment, an empty folder
    rm -rf "$scratch/venv" "$scratch/empty"
    mkdir "$scratch/empty"
    "$1" -m venv "$scratch/venv"
    "$scratch/venv/bin/python" -m pip install --quiet "$2"
    "$scratch/venv/bin/python" -m pip check
    (cd "$scratch/empty" && PATH="$scratch/venv/bin:$PATH" bash -euo pipefail -c "$3")
}

core='
rmtrnn --version
python -W error - <<EOF
import sys, pathlib, numpy, scipy
import rmtrnn as rt
assert "venv" in str(pathlib.Path(rt.__file__)), rt.__file__
for name in rt.__all__:
    if name != "highprec":  # its certified half needs an extra; the rest is tried below
        getattr(rt, name)
ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal")
spec, mc = rt.spectrum(ens, T=8), rt.sample(ens, T=8, N=64, trials=4)
assert spec.converged and abs(spec.moment(1) - rt.mean_field(ens).chi ** 8) < 1e-12
assert rt.compare(spec, mc).agrees
rt.highprec.density(rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=0.9, sigma_b=0.1), 2, 0.5, dps=30)
print("python", sys.version.split()[0], "numpy", numpy.__version__, "scipy", scipy.__version__, "core ok")
EOF
printf "state h\ninput x\ngate e reads h\nu = sigmoid(e)\nh = u*h + (1-u)*x\n" > own.cell
rmtrnn mean-field own.cell --sigma-w 3 --json | python -m json.tool > /dev/null
rmtrnn spectrum vanilla --T 4 --plot law.png --json | python -m json.tool > /dev/null && test -s law.png
status=0; rmtrnn reproduce 2> message || status=$?
test "$status" = 2 && grep -q "clone the repository" message
'
declare -A checks=(
    [certify]='python -c "
import rmtrnn as rt
print(rt.highprec.certified_density(rt.Ensemble(rt.VanillaRNN(\"linear\"), sigma_w=0.9), 2, 0.5, dps=20))"'
    [sweep]='python -c "import distributed, rmtrnn; print(\"distributed\", distributed.__version__)"'
    [tables]='python -c "
import rmtrnn as rt
phases = rt.phase_diagram(rt.Ensemble(\"vanilla\", sigma_b=0.1), sigma_w=[0.5, 1.0])
print(phases.to_pandas().shape, dict(phases.to_xarray().sizes))"'
    [completion]='rmtrnn completion bash | head -n 1'
    [torch]='python -c "
import torch, rmtrnn.torch, rmtrnn as rt
cell = torch.nn.RNN(8, 16)
rmtrnn.torch.initialize_(cell, rt.Ensemble(\"vanilla\", sigma_v=1.0, weights=\"orthogonal\"))
print(\"torch\", torch.__version__, cell.weight_hh_l0.detach().T.mm(cell.weight_hh_l0.detach()).diagonal().mean().item())"'
    [cuda12]='python -c "import cupy, rmtrnn; print(\"cupy\", cupy.__version__, \"GPU:\", cupy.is_available())"'
    [cuda13]='python -c "import cupy, rmtrnn; print(\"cupy\", cupy.__version__, \"GPU:\", cupy.is_available())"'
    [test]='python -c "import pytest, hypothesis, flint, xdist; print(\"test tools\", pytest.__version__)"'
    [docs]='python -c "import importlib.metadata as m; print(\"mkdocs-material\", m.version(\"mkdocs-material\"))"'
    [dev]='ruff --version && lint-imports --help > /dev/null && pyright --help > /dev/null && echo dev tools'
)
for python in $pythons; do
    echo "== $python"
    try "$python" "$wheel" "$core"
done
for extra in $extras; do
    echo "== $first [$extra]"
    try "$first" "$wheel[$extra]" "${checks[$extra]}"
done
echo "== the sdist alone"
try "$first" "$sdist" "rmtrnn --version"
if [ -n "${KEEP:-}" ]; then mkdir -p "$KEEP" && cp "$wheel" "$sdist" "$KEEP"; fi
echo "all of it holds: $(basename "$wheel"), $(basename "$sdist")"
