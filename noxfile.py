"""Environments for every supported version: ``nox -l`` lists them, ``nox -s lowest`` runs one."""

import nox

nox.options.sessions = ["tests", "lint"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, with the newest dependencies."""
    session.install(".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """All tests, with the oldest dependencies that pyproject.toml allows."""
    found = session.run("python", "tools/oldest.py", silent=True)
    session.install(".[test]", *str(found).split())
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and layers."""
    session.install("-e", ".[dev]")
    for command in ("ruff check .", "ruff format --check .", "pyright", "lint-imports"):
        session.run(*command.split())


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, built strictly in an environment of its own."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict")
