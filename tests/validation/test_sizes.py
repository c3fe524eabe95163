"""What is committed stays small: figures, their data, the whole tree."""

import subprocess
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from validation import core
from validation.core import places, writing

FIGURE, TREE = 300_000, 20_000_000  # bytes


@pytest.mark.parametrize("path", sorted(places.FIGURES.glob("*/*.p[nd][gf]")), ids=lambda path: path.stem)
def test_figures_are_small(path):
    assert path.stat().st_size <= FIGURE


def test_the_tree_is_small():
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=places.ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a checkout")
    files = [places.ROOT / name for name in done.stdout.split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.exists()) <= TREE


@pytest.mark.parametrize("shades", [False, True])
def test_pictures_keep_their_colours(tmp_path, shades):
    """Also rare ones: three pixels of a colour beside a map of many."""
    figure = plt.figure(figsize=(2.0, 2.0))
    figure.figimage(plt.get_cmap("viridis")(np.linspace(0.0, 1.0, 40_000).reshape(200, 200)))
    core.save_figure(figure, tmp_path, "map", shades=shades)
    plt.close(figure)
    many = np.array([(k % 256, k // 256, 128) for k in range(39_997)] + [(255, 0, 0)] * 3, dtype=np.uint8)
    few = np.asarray(
        writing.few_colours(Image.fromarray(many.reshape(200, 200, 3))).convert("RGB"), dtype=int
    )
    assert np.abs(few[-1, -3:] - [255, 0, 0]).max() <= 24
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.mode == ("RGB" if shades else "P")
    assert (tmp_path / "map.pdf").exists()


@pytest.mark.parametrize("path", sorted(places.FIGURES.rglob("*.npz")), ids=lambda path: path.parent.name)
def test_data_is_packed(path):
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_LZMA}


def test_single_precision_halves_the_data_and_leaves_counts_alone(tmp_path):
    rng = np.random.default_rng(0)
    results = {"case": ({}, {"x": rng.random(5000), "n": np.arange(3)})}
    for name, single in (("double", False), ("single", True)):
        core.save_data(tmp_path, name, results, single=single)
    sizes = [(tmp_path / f"{name}.npz").stat().st_size for name in ("double", "single")]
    arrays = core.load_data(tmp_path, "single")["case"][1]
    assert sizes[1] < 0.6 * sizes[0] and arrays["n"].dtype == np.arange(3).dtype
    assert np.allclose(arrays["x"], results["case"][1]["x"], rtol=1e-7)
