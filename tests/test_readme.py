"""The README: every Python block runs as it stands, and what it points to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_there_are_blocks():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one block saves a picture
    exec(compile(BLOCKS[index], f"README.md, block {index}", "exec"), {})
    assert "nan" not in capsys.readouterr().out


def test_first_block_finds_agreement(capsys):
    exec(BLOCKS[0], {})
    assert "theory agrees with the sample" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_linked_file_exists(path):
    assert (ROOT / path).is_file()
