"""The configuration and its schema agree, and the workflow keeps Snakemake's own rules."""

import ast
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from snakemake.utils import validate


@pytest.fixture(scope="module")
def schema(root):
    return yaml.safe_load((root / "workflow/schemas/config.schema.yaml").read_text())


@pytest.fixture(scope="module")
def shipped(root):
    return yaml.safe_load((root / "config/config.yaml").read_text())


def nodes(node, path=()):
    """(path, schema) of every node of a schema below its root."""
    for name, each in node.get("properties", {}).items():
        yield (*path, name), each
        yield from nodes(each, (*path, name))


def keys(config):
    """Every key of a nested dict."""
    for key, value in config.items():
        yield key
        if isinstance(value, dict):
            yield from keys(value)


def test_snakemake_lint(snakemake, tmp_path):
    assert "good condition" in snakemake("--lint", directory=tmp_path).output


def test_snakefmt(root):
    paths = [root / "Snakefile", *sorted(root.glob("workflow/rules/*.smk"))]
    done = subprocess.run(
        [sys.executable, "-m", "snakefmt.snakefmt", "--check", *map(str, paths)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_rules_are_told_apart_by_name_log_and_message(root):
    for path in root.glob("workflow/rules/*.smk"):
        text = path.read_text()
        for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
            name = rule.split(":")[0]
            for directive in ("log", "benchmark", "conda", "threads", "resources", "message"):
                assert f"\n    {directive}:" in rule, f"{name} has no {directive}"
            assert f'code=code_of("{name}")' in rule, name
            assert f'"../scripts/{name}.py"' in rule, name


def test_shipped_configuration_is_the_schemas_defaults(root, shipped):
    filled = {}
    validate(filled, str(root / "workflow/schemas/config.schema.yaml"))
    assert filled == shipped


def test_shipped_configuration_is_valid_and_complete(root, shipped):
    filled = deepcopy(shipped)
    validate(filled, str(root / "workflow/schemas/config.schema.yaml"))
    assert filled == shipped


def test_examples_are_valid(root):
    for path in root.glob("config/examples/*/config.yaml"):
        validate(
            yaml.safe_load(path.read_text()), str(root / "workflow/schemas/config.schema.yaml")
        )


def test_every_property_has_a_description_and_a_default(schema):
    for path, node in nodes(schema):
        name = ".".join(path)
        assert node.get("description", "").endswith("."), name
        assert "default" in node, name


def test_no_section_takes_unknown_keys(schema):
    assert schema["additionalProperties"] is False
    for path, node in nodes(schema):
        if "properties" in node:
            assert node["additionalProperties"] is False, ".".join(path)
        elif node.get("type") == "object":
            pytest.fail(f"{'.'.join(path)} is an object without properties")


def test_every_number_has_a_bound_or_may_be_anything(schema):
    # Magnitudes have no natural bound.
    unbounded = {"coadd_zero_point"}
    for path, node in nodes(schema):
        kind = node.get("type", ())
        kinds = {kind} if isinstance(kind, str) else set(kind)
        if kinds & {"number", "integer"} and path[-1] not in unbounded:
            assert {"minimum", "exclusiveMinimum"} & set(node), ".".join(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"detect": {"treshold": 6}}, ["'treshold' was unexpected", "detect"]),
        ({"exposure": "E.csv"}, ["'exposure' was unexpected"]),
        ({"detect": {"threshold": -1}}, ["-1 is less than or equal to the minimum", "threshold"]),
        ({"detect": {"polarity": "up"}}, ["'up' is not one of", "polarity"]),
        ({"calibrate": {"bands": ["r"]}}, ["band 'i' has no number", "calibrate.bands"]),
        ({"calibrate": {"formats": ["fits"]}}, ["['fits'] does not contain", "formats"]),
    ],
    ids=["key", "section", "bound", "choice", "band", "format"],
)
def test_a_typo_stops_before_the_graph(snakemake, config_file, tmp_path, change, says):
    run = snakemake("-n", "--configfile", config_file(change), directory=tmp_path, fails=True)
    for words in says:
        assert words in run.output
    assert "Traceback" not in run.output
    assert "Job stats" not in run.output


def words_of(path):
    """Names and strings of a Python file, docstrings apart."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in prose:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg
        elif isinstance(node, ast.Attribute):
            yield node.attr


def test_every_key_is_read_somewhere(root, shipped):
    read = set()
    for folder in ("src/skydelta", "workflow/scripts"):
        for path in (root / folder).rglob("*.py"):
            read |= set(words_of(path))
    for path in (root / "workflow/rules").glob("*.smk"):
        read |= set(re.findall(r'"(\w+)"', path.read_text()))
    assert not set(keys(shipped)) - read


def test_every_section_reaches_a_rule(root, shipped):
    rules = "".join(p.read_text() for p in root.glob("workflow/rules/*.smk"))
    package = (root / "src/skydelta/survey.py").read_text()
    for key in shipped:
        assert f'"{key}"' in rules or f'config["{key}"]' in package, key


def test_reference_page_is_that_of_the_schema():
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "docs" / "config_reference.py"), "--check"]
    subprocess.run(command, check=True)
