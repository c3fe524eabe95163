"""Checkpoint files: a right hash does not make the content right."""

import hashlib
import json

import numpy as np
import pytest

from rmtrnn._core.trials import FORMAT, CheckpointFolder

PARAMETERS = {"seed": 1, "T": 3}
HEADER = {"format": FORMAT, "trial": 0, "length": 2, "parameters": PARAMETERS}
VALUES = np.array([1.0, 2.0]).tobytes()


def put(folder, payload):
    """A file whose hash fits."""
    store = CheckpointFolder(folder, PARAMETERS)
    store.path(0).write_bytes(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    return store


def test_what_is_written_is_read(tmp_path):
    store = CheckpointFolder(tmp_path, PARAMETERS)
    store.write(0, np.array([1.0, 2.0]))
    assert np.array_equal(store.read(0), [1.0, 2.0])
    assert np.array_equal(put(tmp_path, json.dumps(HEADER).encode() + b"\n" + VALUES).read(0), [1.0, 2.0])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n",
        b"3\n" + VALUES,
        b"null\n" + VALUES,
        b"{}\n" + VALUES,
        b"[" * 5000 + b"\n" + VALUES,
        b"\xff\n" + VALUES,
        json.dumps(HEADER | {"parameters": 7}).encode() + b"\n" + VALUES,
        json.dumps(HEADER).encode() + b"\n" + VALUES[:-3],
        json.dumps(HEADER).encode() + b"\n" + VALUES[:8],
        json.dumps(HEADER | {"length": "two"}).encode() + b"\n" + VALUES,
    ],
)
def test_wrong_content_under_a_right_hash_is_a_damaged_file(tmp_path, payload):
    with pytest.raises(ValueError, match=r"trial-000000\.dat: is damaged .* delete it"):
        put(tmp_path, payload).read(0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": FORMAT + 1}, "format"),
        ({"trial": 4}, "trial"),
        ({"parameters": {"seed": 2, "T": 3}}, "seed"),
    ],
)
def test_files_of_other_runs_say_what_differs(tmp_path, change, named):
    store = put(tmp_path, json.dumps(HEADER | change).encode() + b"\n" + VALUES)
    with pytest.raises(ValueError, match=rf"belongs to another run \(differs in \['{named}'\]\)"):
        store.read(0)
