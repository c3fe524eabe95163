"""Write the public address of the repository into every document that names it: a step of a release.

    python -m tools.address https://HOST/OWNER/rmtrnn

The clone command and the pictures of README.md (relative links break on a package index), ``[project.urls]``,
CITATION.cff, docs/cite.md, mkdocs.yml and the conda recipe. A second address replaces the first.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ANY = r"https://[^\s\"'<>()]+"


def with_address(texts: dict[str, str], address: str) -> dict[str, str]:
    """The documents, by path, with the address in them. ValueError for an address that is no https URL."""
    if not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+", address):
        raise ValueError(f"address = {address!r}: must be an https URL without a slash at its end")
    put = {
        "README.md": _readme,
        "pyproject.toml": _project,
        "CITATION.cff": _line("url", "license:"),
        "docs/cite.md": _bibtex,
        "mkdocs.yml": _line("repo_url", "theme:"),
        "tools/conda/meta.yaml": _line("  home", "  license:"),
    }
    return {path: put[path](text, address) for path, text in texts.items()}


def _readme(text: str, address: str) -> str:
    text = re.sub(r"git clone \S+", f"git clone {address}", text)
    raw = f"{address}/raw/HEAD/"
    text = re.sub(rf"(!\[[^]]*\]\(){_ANY}/raw/HEAD/", rf"\g<1>{raw}", text)
    return re.sub(r"(!\[[^]]*\]\()(?!https://)", rf"\g<1>{raw}", text)


def _project(text: str, address: str) -> str:
    text = re.sub(r"^(Source|Issues) = .*\n", "", text, flags=re.M)
    own = f'[project.urls]\nSource = "{address}"\nIssues = "{address}/issues"\n'
    return text.replace("[project.urls]\n", own)


def _line(key: str, before: str):
    """Replace the line of the key, or add it before the line that begins with ``before``."""

    def put(text: str, address: str) -> str:
        text = re.sub(rf"^{key}: .*\n", "", text, flags=re.M)
        return re.sub(rf"^{before}", f"{key}: {address}\n{before}", text, count=1, flags=re.M)

    return put


def _bibtex(text: str, address: str) -> str:
    text = re.sub(r"^  url = .*\n", "", text, flags=re.M)
    return text.replace(
        "  license = {BSD-3-Clause}\n", f"  url = {{{address}}},\n  license = {{BSD-3-Clause}}\n"
    )


def documents() -> dict[str, str]:
    """The texts that name the address, by path."""
    names = (
        "README.md",
        "pyproject.toml",
        "CITATION.cff",
        "docs/cite.md",
        "mkdocs.yml",
        "tools/conda/meta.yaml",
    )
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names}


def main() -> int:
    """Write them."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        written = with_address(documents(), sys.argv[1])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name, text in written.items():
        (ROOT / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
