"""Saved results: equal after reading, and ValueError for whatever is no such file."""

import json
import random
import zipfile

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import storage


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    spec = rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.1), T=2)
    mc = rt.sample(rt.Ensemble("vanilla", sigma_b=0.1), T=2, N=8, trials=2, burn_in=5)
    field = rt.mean_field(rt.Ensemble("gru", sigma_v=0.5))
    folder = tmp_path_factory.mktemp("saved")
    return [result.save(folder / result.kind) for result in (spec, mc, field)]


def test_missing_files_are_told_from_damaged_ones(tmp_path):
    with pytest.raises(FileNotFoundError):
        rt.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        rt.load(tmp_path)


def test_bytes_lost_or_changed_are_a_value_error(saved, tmp_path):
    rng = random.Random(1)
    damaged = tmp_path / "damaged.npz"
    for path in saved:
        whole, content = rt.load(path), path.read_bytes()
        for _ in range(150):
            changed = bytearray(content)
            if rng.random() < 0.3:
                del changed[rng.randrange(len(changed)) :]
            for _ in range(rng.randrange(1, 4)):
                if changed:
                    changed[rng.randrange(len(changed))] = rng.randrange(256)
            damaged.write_bytes(changed)
            try:
                found = rt.load(damaged)
            except ValueError as error:
                assert str(damaged) in str(error) and "\n" not in str(error)
            else:
                assert type(found) is type(whole)


def written(path, record, **arrays):
    np.savez(path, **{storage._META: np.array(json.dumps(record))}, **arrays)
    return path


@pytest.mark.parametrize(
    "record",
    [
        1,
        None,
        [],
        {"format": 1},
        {"format": 1, "kind": "spectrum"},
        {"format": 2, "kind": "spectrum", "meta": {}},
        {"format": 1, "kind": "spectrum", "meta": {}},
        {"format": 1, "kind": "spectrum", "meta": {"ensemble": 3, "law": {"class": "TabulatedLaw"}}},
        {"format": 1, "kind": "spectrum", "meta": {"law": {"class": "os.system"}}},
        {"format": 1, "kind": "sample", "meta": []},
        {"format": 1, "kind": ["sample"], "meta": {}},
        {"format": 1, "kind": "unknown", "meta": {}},
        {"format": 1, "kind": "mean field", "meta": {"Q": {"rmtrnn": "record", "kind": "os", "value": {}}}},
        {"format": 1, "kind": "mean field", "meta": {"Q": {"rmtrnn": "array", "value": "Q"}}},
        {"format": 1, "kind": "mean field", "meta": {"surprise": 1}},
        {"format": 1, "kind": "ensemble", "meta": {}},
    ],
)
def test_wrong_content_is_a_value_error(tmp_path, record):
    with pytest.raises(ValueError, match=r"wrong\.npz"):
        rt.load(written(tmp_path / "wrong.npz", record))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a result", b"\x93NUMPY\x01\x00v\x00{}"])
def test_other_files_are_a_value_error(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no result"):
        rt.load(path)


def test_a_plain_array_and_a_pickle_are_a_value_error(tmp_path):
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(ValueError, match="holds no result"):
        rt.load(tmp_path / "array.npy")
    np.savez(tmp_path / "pickle.npz", **{storage._META: np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="holds no result"):
        rt.load(tmp_path / "pickle.npz")


def test_an_unsupported_compression_is_a_value_error(saved, tmp_path):
    path = tmp_path / "bzip2.npz"
    with zipfile.ZipFile(saved[0]) as archive, zipfile.ZipFile(path, "w") as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    content = path.read_bytes().replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x63\x00"
    )
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no result"):
        rt.load(path)
