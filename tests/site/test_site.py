"""The documentation site: built strictly, no broken link, nothing loaded from other hosts.

Needs the extra ``docs``; `.ci/run` runs it in an environment that has it.
"""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("mkdocs", "material", "latex2mathml")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason="needs the extra docs"
)
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "prev", "next"}  # of <link>: information only


class Page(HTMLParser):
    """Anchors, links and what the browser loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images_without_text = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if LOADED.get(tag) in values and values.get("rel") not in NOT_LOADED:
            self.loaded.append(values[LOADED[tag]])
        self.images_without_text += tag == "img" and not values.get("alt")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr.strip() + done.stdout.strip(), done.stdout + done.stderr
    return {path.relative_to(folder).as_posix(): Page(path) for path in folder.rglob("*.html")}, folder


def test_every_link_leads_somewhere(site):
    pages, folder = site
    broken, checked = [], 0
    for name, page in pages.items():
        if name == "404.html":  # served at any address, so its links are absolute
            continue
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = (
                os.path.normpath(os.path.join(os.path.dirname(name), unquote(parts.path)))
                if parts.path
                else name
            )
            checked += 1
            if not (folder / path).is_file():
                broken.append(f"{name}: {link}")
            elif parts.fragment and path in pages and unquote(parts.fragment) not in pages[path].anchors:
                broken.append(f"{name}: {link} (no such anchor)")
    assert not broken
    assert checked > 1000


def test_nothing_is_loaded_from_elsewhere(site):
    pages, folder = site
    for name, page in pages.items():
        assert not [link for link in page.loaded if urlsplit(link).netloc], name
    for path in folder.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path
        assert "@import" not in path.read_text(encoding="utf-8"), path


def test_pictures_are_described(site):
    pages, _ = site
    assert not [name for name, page in pages.items() if page.images_without_text]


def test_equations_names_and_numbers_are_linked(site):
    pages, folder = site
    assert {f"eq-{number}" for number in (*range(1, 22), "Psi")} <= pages["theory.html"].anchors
    assert "rmtrnn.mean_field" in pages["reference/rmtrnn.html"].anchors
    theory = (folder / "theory.html").read_text(encoding="utf-8")
    assert 'href="reference/rmtrnn.html#rmtrnn.mean_field"' in theory
    reference = (folder / "reference" / "rmtrnn.html").read_text(encoding="utf-8")
    assert 'href="../theory.html#eq-17"' in reference
    for name in pages:
        text = (folder / name).read_text(encoding="utf-8")
        assert "EQUATION" not in text and "\\begin" not in re.sub(
            r"<pre.*?</pre>", "", text, flags=re.DOTALL
        ), name


def test_the_reference_begins_with_what_is_used_first(site):
    _, folder = site
    text = (folder / "reference" / "rmtrnn.html").read_text(encoding="utf-8")
    names = re.findall(r'<h2 id="rmtrnn\.(\w+)"', text)
    assert names[:3] == ["Ensemble", "spectrum", "sample"]


def test_every_public_name_is_in_the_reference(site):
    pages, _ = site
    import test_public_api

    for module, names in test_public_api.NAMES.items():
        short = module.removeprefix("rmtrnn").strip(".") or "rmtrnn"
        anchors = pages[f"reference/{short}.html"].anchors | pages["reference/results.html"].anchors
        hidden = {"__version__", "free", "highprec", "plotting", "spectra", "symbolic", "torch"}
        missing = {name for name in set(names.split()) - hidden if f"{module}.{name}" not in anchors}
        assert not missing, module
