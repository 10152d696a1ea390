"""environment.yml (conda) and pyproject.toml (pip) ask for the same packages."""

import re
import tomllib

import pytest
import yaml


def name_of(requirement):
    """Normalised name of ``name[extra]>=1.0``."""
    return re.split(r"[\[<>=!~ ;]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def environment(root):
    content = yaml.safe_load((root / "environment.yml").read_text())
    assert content, "environment.yml is empty"
    return content


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def listed(environment):
    """All requirements, those of pip included."""
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            yield from entry["pip"]
        else:
            yield entry.split("::")[-1]


def test_same_dependencies(environment, project):
    conda = {name_of(r) for r in listed(environment) if not r.startswith(("-e", "."))}
    # conda has one package without the report extra of pip; Python and pip come with pip itself.
    aliases = {"matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}
    conda = {aliases.get(name, name) for name in conda} - {"python", "pip", "skydelta"}
    required = {name_of(r) for r in project["dependencies"]}
    extras = {name_of(r) for group in project["optional-dependencies"].values() for r in group}
    assert required <= conda
    assert conda - required <= extras | {"pygments"}  # pygments: the reports extra


def test_same_lower_bounds(environment, project):
    bounds = {}
    for requirement in listed(environment):
        match = re.match(r"([\w-]+)(?:\[.*\])? *>= *([\d.]+)", requirement)
        if match:
            bounds[match[1].lower()] = match[2]
    for requirement in project["dependencies"]:
        match = re.match(r"([\w-]+)(?:\[.*\])? *>= *([\d.]+)", requirement)
        assert bounds.get(match[1].lower(), match[2]) == match[2], requirement


def test_same_python(environment, project):
    python = [r for r in listed(environment) if name_of(r) == "python"]
    assert len(python) == 1
    lowest = project["requires-python"].removeprefix(">=")
    assert lowest in python[0]


def test_channels(environment):
    assert environment["channels"][0] == "conda-forge"
