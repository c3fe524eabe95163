"""Pages of the site whose text lives elsewhere in the repository."""

from __future__ import annotations

import importlib
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from tools.docsite import reference

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "rmtrnn": "rmtrnn", "results": "Results", "torch": "rmtrnn.torch", "free": "rmtrnn.free",
    "spectra": "rmtrnn.spectra", "highprec": "rmtrnn.highprec", "symbolic": "rmtrnn.symbolic",
    "cells": "rmtrnn.cells", "meanfield": "rmtrnn.meanfield", "sampling.products": "rmtrnn.sampling.products",
    "plotting": "rmtrnn.plotting",
}  # fmt: skip
RESULTS = (
    "What the functions of `rmtrnn` return. Users do not make these objects themselves; `rt.load` reads them."
)
GALLERY = """# Gallery

Every picture was made by the script below it, in seconds, with nothing but this package. They share one style
(`rmtrnn.plotting.style`) and its palette, which remains legible to colour-blind readers. The larger studies,
theory against sampled networks, are in `paper_figures/` of the repository, with their data and reports.
"""


def reference_page(name: str, entries: list[reference.Entry]) -> str:
    """The introduction is the module's docstring."""
    if name == "results":
        text = RESULTS
    elif name == "torch":
        import ast

        text = ast.get_docstring(ast.parse(_read("rmtrnn/torch.py"))) or ""
    else:
        text = importlib.import_module("rmtrnn" if name == "rmtrnn" else f"rmtrnn.{name}").__doc__ or ""
    return reference.page(TITLES[name], text, entries)


def documents() -> dict[str, str]:
    """Source path on the site → Markdown."""
    return {
        "comparison.md": _read("benchmarks/peers/README.md"),
        "changelog.md": _read("CHANGELOG.md"),
        "examples.md": examples(),
        "gallery.md": gallery(),
        "command_line.md": command_line(),
    }


def pictures() -> dict[str, Path]:
    """Path on the site → file."""
    return {
        "peers.png": ROOT / "benchmarks" / "peers" / "peers.png",
        "spectra.png": ROOT / "paper_figures" / "quickstart" / "spectra.png",
    }


def examples() -> str:
    """The list of the examples, then each script in full."""
    scripts = sorted((ROOT / "examples").glob("*.py"))
    shown = [f"## `{path.name}`\n\n{_code(path)}" for path in scripts]
    return "\n\n".join([_read("examples/README.md"), *shown])


def gallery() -> str:
    """Title and caption of a figure are the docstring of its script."""
    out = [GALLERY]
    for path in sorted((ROOT / "docs" / "gallery").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        title, _, caption = source.split('"""')[1].strip().partition("\n")
        alt = re.sub(r"\s+", " ", caption.strip())
        out.append(
            f"## {title.rstrip('.')}\n\n![{title.rstrip('.')}](gallery/{path.stem}.png)\n\n{alt}\n\n"
            f"```python\n{source.split(chr(34) * 3, 2)[2].strip()}\n```\n"
        )
    return "\n".join(out)


def command_line() -> str:
    """The hand-written introduction, then ``--help`` of every command."""
    from rmtrnn import cli

    out = [_read("tools/docsite/command_line.md"), "## Help\n"]
    for command in (None, "spectrum", "mean-field", "phase", "critical", "sample", "reproduce"):
        out.append(f"### rmtrnn {command or ''}\n\n```text\n{_help(cli.main, command)}```\n")
    return "\n".join(out)


def _help(main, command: str | None) -> str:
    text = io.StringIO()
    with redirect_stdout(text):
        try:
            main([*([command] if command else []), "--help"])
        except SystemExit as stop:
            if stop.code:
                raise
    return text.getvalue()


def _code(path: Path) -> str:
    return f"```python\n{path.read_text(encoding='utf-8').strip()}\n```"


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
