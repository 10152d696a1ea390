"""Input data are data: no name becomes a command, no file becomes code, nobody is let in."""

import ast
import csv
import os
import shutil
from contextlib import contextmanager

import pytest

HOSTILE = "a; touch INSIDE #$(touch INSIDE)`touch INSIDE`' 'touch INSIDE' \" && touch INSIDE & %s*?"
"""Every way a shell knows to take a file's name for a command."""


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write_table(path, header, row):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), row])


@pytest.fixture(scope="module")
def hostile_run(snakemake, tiny_run, tmp_path_factory):
    """One exposure on one coadd, both and their folder named HOSTILE; umask 027."""
    base = tmp_path_factory.mktemp("hostile")
    folder = base / HOSTILE
    folder.mkdir()
    demo = tiny_run.folder / "demo"
    shutil.copy(demo / "exposures/exposure_500002_i_000.fits", folder / f"e {HOSTILE}.fits")
    shutil.copy(demo / "coadds/coadd_4849_0-0_i.fits", folder / f"c {HOSTILE}.fits")
    write_table(folder / "E.csv", "visit,detector,band,path", (500002, 0, "i", f"e {HOSTILE}.fits"))
    write_table(folder / "C.csv", "tract,patch,band,path", (4849, "0,0", "i", f"c {HOSTILE}.fits"))
    tables = ("--config", "exposures=E.csv", "coadds=C.csv")
    with umask(0o027):
        return snakemake(*tables, directory=base / "work", cwd=folder)


def test_no_name_becomes_a_command(hostile_run, house):
    assert [s["status"] for s in hostile_run.statuses().values()] == ["ok"]
    for folder in (hostile_run.folder.parent, house):
        assert not list(folder.rglob("INSIDE"))


def test_files_get_the_users_umask(hostile_run):
    paths = [*hostile_run.results.rglob("*"), *(hostile_run.folder / "logs").rglob("*")]
    assert len(paths) > 20
    for path in paths:
        allowed = 0o750 if path.is_dir() else 0o640
        assert path.stat().st_mode & 0o777 == allowed, path


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b"])
def test_names_that_hide_something_are_refused(snakemake, tmp_path, character):
    row = (1, 0, "i", f"a{character}b.fits")
    write_table(tmp_path / "E.csv", "visit,detector,band,path", row)
    write_table(tmp_path / "C.csv", "tract,patch,band,path", (1, "0,0", "i", "c.fits"))
    tables = ("--config", f"exposures={tmp_path / 'E.csv'}", f"coadds={tmp_path / 'C.csv'}")
    run = snakemake("-n", *tables, directory=tmp_path / "work", fails=True)
    assert "bad_table" in run.output
    assert "Traceback" not in run.output


UNSAFE = {
    "code": {"eval", "exec", "compile", "__import__"},
    "modules": {"marshal", "shelve", "dill", "joblib", "socket", "socketserver", "http", "xmlrpc"},
    "attributes": {"system", "popen", "unsafe_load", "full_load", "allow_pickle"},
}

PICKLES = {"compare/child.py", "lsst/piff_psf.py", "io/afw/psfs.py"}
"""Job and answer of a child process, in a folder that its parent has just made; Piff's PSFs, which
are read where `input.trust_pickles` says so, and their writer."""


def unsafe_words(tree):
    """What of a module could run data, talk to a network or hand text to a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ({alias.name.split(".")[0] for alias in node.names} & UNSAFE["modules"])
            yield from ({alias.name for alias in node.names} & {"pickle"})
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ({node.module.split(".")[0]} & (UNSAFE["modules"] | {"pickle"}))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from ({node.func.id} & UNSAFE["code"])
        elif isinstance(node, ast.Attribute):
            yield from ({node.attr} & UNSAFE["attributes"])
        elif isinstance(node, ast.keyword):
            yield from ({node.arg} & {"shell", "allow_pickle"})


def test_no_module_runs_data_or_opens_a_port(root):
    package = root / "src" / "skydelta"
    paths = [*package.rglob("*.py"), *(root / "workflow" / "scripts").glob("*.py")]
    assert len(paths) > 100
    found = {
        str(path.relative_to(root)): words
        for path in paths
        if (words := sorted(unsafe_words(ast.parse(path.read_text()))))
    }
    allowed = {f"src/skydelta/{name}": ["pickle"] for name in PICKLES}
    assert found == allowed


def test_no_rule_has_a_shell_command(root):
    for path in (root / "workflow" / "rules").glob("*.smk"):
        text = path.read_text()
        assert "shell:" not in text, path
        assert "run:" not in text, path
