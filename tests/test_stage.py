import logging
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from astropy.io import fits
from scenes import make_exposure, white_noise

from skydelta import __version__
from skydelta.errors import TooFewStarsError
from skydelta.stage import is_provenance, options, provenance, stage, with_provenance


class Named(list):
    """A list with names, like Snakemake's input, output and params."""

    def __init__(self, **items):
        super().__init__(items.values())
        self.__dict__.update(items)

    def items(self):
        return self.__dict__.items()


@pytest.fixture
def snakemake(tmp_path):
    return SimpleNamespace(
        rule="subtract",
        threads=1,
        input=Named(template="/far/away/b.fits", exposure="elsewhere/a.fits"),
        output=Named(one=str(tmp_path / "one.fits"), two=str(tmp_path / "two.fits")),
        log=Named(log=str(tmp_path / "logs" / "rule.log")),
        params=Named(code="abc123", section={"b": 1, "a": [2]}),
    )


@pytest.fixture(autouse=True)
def _quiet():
    """The stage sets the root logger and the filter of warnings up for a process of its own."""
    root = logging.getLogger()
    level = root.level
    with warnings.catch_warnings():
        yield
    root.setLevel(level)


def log_of(snakemake):
    with open(snakemake.log[0]) as file:
        return file.read()


def test_log_holds_records_and_warnings(snakemake):
    with stage(snakemake):
        logging.getLogger("skydelta.x").info("%d stars", 7)
        warnings.warn("careful", UserWarning, stacklevel=1)
    text = log_of(snakemake)
    assert "INFO subtract skydelta.x: 7 stars" in text
    assert "careful" in text
    assert text[:2] == "20"
    assert text[19] == "Z"


def test_nothing_is_left_of_the_logging(snakemake):
    before = list(logging.getLogger().handlers)
    with stage(snakemake):
        pass
    assert logging.getLogger().handlers == before


def test_a_failure_becomes_a_marker(snakemake):
    with stage(snakemake):
        raise TooFewStarsError("2 stars, need 3")
    for path in snakemake.output:
        header = fits.getheader(path)
        assert (header["STATUS"], header["STATSTAG"]) == ("too_few_stars", "subtract")
        assert header["STATMSG"] == "2 stars, need 3"
    assert "ERROR" in log_of(snakemake)
    assert "too_few_stars: 2 stars, need 3" in log_of(snakemake)


def test_a_bug_surfaces(snakemake, tmp_path):
    with pytest.raises(ZeroDivisionError), stage(snakemake):
        _ = 1 / 0
    assert "ZeroDivisionError" in log_of(snakemake)
    assert "Traceback" in log_of(snakemake)
    assert not (tmp_path / "one.fits").exists()


def test_provenance(snakemake):
    meta, notes = provenance(snakemake)
    assert meta["SKYDVER"][0] == __version__
    assert meta["SKYDCODE"][0] == "abc123"
    assert notes == (
        "subtract inputs: a.fits b.fits",
        'subtract configuration: {"a": [2], "b": 1}',
    )
    assert all(is_provenance(note) for note in notes)
    assert not is_provenance("kernel order lowered from 2 to 1: 9 stars carry no more terms")


def test_with_provenance(snakemake):
    exposure = make_exposure(white_noise((5, 5), 0), notes=("before",), meta={"KSUM": 1.0})
    out = with_provenance(exposure, snakemake)
    assert out.notes[0] == "before"
    assert len(out.notes) == 3
    assert set(out.meta) == {"KSUM", "SKYDVER", "SKYDCODE"}
    assert exposure.notes == ("before",)


def test_options():
    @dataclass(frozen=True)
    class Choice:
        radii: tuple = ()
        name: str = "x"

    assert options(Choice, {"radii": [1, 2]}) == Choice((1, 2), "x")
    with pytest.raises(TypeError):
        options(Choice, {"unknown": 1})
