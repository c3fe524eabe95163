"""What surrounds the package: recipe, issue templates, workflow, hooks, and the public address."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from tools import address

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = "https://host.example/group/rmtrnn"


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_conda_recipe_is_the_project_s():
    yaml = pytest.importorskip("yaml")
    text = read("tools/conda/meta.yaml")
    version = re.search(r'set version = "(.+?)"', text)
    recipe = yaml.safe_load(re.sub(r"{{.*?}}", "x", re.sub(r"{%.*?%}", "", text)))
    needed = {part.replace(" ", "") for part in recipe["requirements"]["run"]}
    wanted = {part.replace("matplotlib", "matplotlib-base") for part in PROJECT["dependencies"]}
    assert version and version[1] == PROJECT["version"]
    assert needed == wanted | {f"python{PROJECT['requires-python']}"}
    assert recipe["build"]["entry_points"] == [f"rmtrnn = {PROJECT['scripts']['rmtrnn']}"]
    assert recipe["about"]["summary"] == PROJECT["description"]


def test_issue_templates_are_forms():
    yaml = pytest.importorskip("yaml")
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 3
    for path in forms:
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form), path
            assert all({"type", "id", "attributes"} <= set(part) for part in form["body"])


def test_the_hosted_workflow_runs_what_is_run_here():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert [step["run"] for step in jobs["all"]["steps"] if "run" in step] == [".ci/run"]
    sessions = [row["session"] for row in jobs["versions"]["strategy"]["matrix"]["include"]]
    listed = re.search(r"PYTHONS = (\[.*?\])", read("noxfile.py"))
    named = {f"tests-{python}" for python in json.loads(listed[1])} | {"lowest"}
    assert set(sessions) <= named
    tried = {name.removeprefix("tests-") for name in sessions} | set(
        jobs["all"]["strategy"]["matrix"]["python"]
    )
    claimed = {line.split(" :: ")[-1] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert claimed == tried - {"lowest"} == {name.removeprefix("tests-") for name in named} - {"lowest"}


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", ".readthedocs.yaml"])
def test_other_configuration_can_be_read(name):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(read(name))


def test_the_address_reaches_every_document():
    once = address.with_address(address.documents(), "https://old.example/rmtrnn")
    found = address.with_address(once, HOME)
    assert all(HOME in text and "old.example" not in text for text in found.values())
    assert address.with_address(found, HOME) == found
    project = tomllib.loads(found["pyproject.toml"])["project"]
    assert project["urls"] == {"Source": HOME, "Issues": f"{HOME}/issues"} | PROJECT["urls"]
    pictures = re.findall(r"!\[[^]]*\]\((.*?)\)", found["README.md"])
    assert pictures and all(picture.startswith(f"{HOME}/raw/HEAD/") for picture in pictures)
    assert all((ROOT / picture.removeprefix(f"{HOME}/raw/HEAD/")).exists() for picture in pictures)
    assert f"git clone {HOME} rmtrnn" in found["README.md"]
    assert f"\nurl: {HOME}\n" in found["CITATION.cff"]


@pytest.mark.parametrize(
    "wrong", ["", "http://host.example/rmtrnn", "https://host.example/", "host.example/x"]
)
def test_another_address_is_refused(wrong):
    with pytest.raises(ValueError, match="must be an https URL"):
        address.with_address({}, wrong)
