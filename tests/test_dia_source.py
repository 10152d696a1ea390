"""The catalogue's columns against Rubin's own table."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u

from skydelta.dia_source import ABSENT, ADDITIONS, COLUMNS, RUBIN, SCHEMA, empty_catalogue

ROOT = Path(__file__).resolve().parents[1]

TYPES = {
    "long": "i8",
    "int": "i4",
    "short": "i2",
    "double": "f8",
    "float": "f4",
    "boolean": "?",
    "char": "U",
    "string": "U",
}


@pytest.fixture(scope="module")
def rubin():
    """Rubin's DiaSource columns by name, in order."""
    package = pytest.importorskip(
        "lsst.sdm.schemas", reason="lsst-sdm-schemas is not installed: pip install skydelta[test]"
    )
    schema = yaml.safe_load((files(package) / f"{SCHEMA[0]}.yaml").read_text())
    (table,) = (t for t in schema["tables"] if t["name"] == "DiaSource")
    return {column["name"]: column for column in table["columns"]}


def test_version(rubin):
    """A new version of the schema is looked at before its number is written down here."""
    text = (files("lsst.sdm.schemas") / f"{SCHEMA[0]}.yaml").read_text()
    assert str(yaml.safe_load(text)["version"]) == SCHEMA[1]


def test_every_column_is_written_or_left_out_with_a_reason(rubin):
    written = {c.name for c in RUBIN}
    assert not written & set(ABSENT)
    assert written | set(ABSENT) == set(rubin)
    assert all(len(reason) > 5 for reason in ABSENT.values())


def test_order(rubin):
    assert [c.name for c in RUBIN] == [name for name in rubin if name not in ABSENT]


def test_types_and_units(rubin):
    for column in RUBIN:
        theirs = rubin[column.name]
        assert column.dtype == TYPES[theirs["datatype"]], column.name
        assert column.unit == (theirs.get("fits:tunit") or ""), column.name


def test_nulls(rubin):
    for column in RUBIN:
        if not rubin[column.name].get("nullable", True):
            assert not column.is_nullable, column.name


def test_additions_are_not_rubins(rubin):
    assert not {c.name for c in ADDITIONS} & set(rubin)


def test_names_are_unique_and_explained():
    names = [c.name for c in COLUMNS]
    assert len(names) == len(set(names))
    assert all(c.description and not c.description.endswith(".") for c in COLUMNS)


def test_units_are_units():
    for column in COLUMNS:
        u.Unit(column.unit, format="fits")


def test_empty():
    catalogue = empty_catalogue()
    assert list(catalogue) == [c.name for c in COLUMNS]
    for column in COLUMNS:
        values = catalogue[column.name]
        assert len(values) == 0
        assert values.dtype == ("O" if column.dtype == "U" else np.dtype(column.dtype))


def test_reference_page_is_that_of_the_columns():
    command = [sys.executable, str(ROOT / "docs" / "catalogue_reference.py"), "--check"]
    subprocess.run(command, check=True)
