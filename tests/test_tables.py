import logging
import subprocess
import sys

import pytest

from skydelta.errors import TableError
from skydelta.tables import CoaddRow, ExposureRow, parse_patch, read_coadds, read_exposures


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_exposures_have_absolute_paths_and_ids(table, tmp_path):
    path = table(
        "visit,detector,band,path,weight\n1013665,79,i,img/a.fits,\n7,0,r,/data/b.fits,../w.fits\n"
    )
    first, second = read_exposures(path)
    assert first == ExposureRow(1013665, 79, "i", str(tmp_path / "img/a.fits"))
    assert first.id == "01013665-i-det079"
    assert first.key == (1013665, 79, "i")
    assert second.path == "/data/b.fits"
    assert second.weight == str(tmp_path.parent / "w.fits")


@pytest.mark.parametrize("patch", ['"0,3"', '"(0, 3)"', ' "( 0,3 )"'])
def test_coadd_patch_in_each_form(table, tmp_path, patch):
    (row,) = read_coadds(table(f"tract, patch, band, path\n4639, {patch}, i, c.fits\n"))
    assert row == CoaddRow(4639, (0, 3), "i", str(tmp_path / "c.fits"))
    assert row.id == "4639-0,3-i"


def test_relative_table_name_gives_absolute_paths(table, tmp_path, monkeypatch):
    table("visit,detector,band,path\n1,2,i,a.fits\n")
    monkeypatch.chdir(tmp_path)
    assert read_exposures("table.csv")[0].path == str(tmp_path / "a.fits")


def test_spreadsheet_habits_are_understood(table):
    """Byte-order mark, CRLF, blank lines and any order of columns."""
    path = table("\ufeffpath,band,detector,visit\r\n\r\na.fits,i,2,1\r\n,,,\r\n")
    assert [row.key for row in read_exposures(path)] == [(1, 2, "i")]


def test_same_visit_and_detector_in_two_bands_are_two_exposures(table):
    path = table("visit,detector,band,path\n1,2,i,a.fits\n1,2,r,b.fits\n")
    assert len(read_exposures(path)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table.csv is empty: it needs a header line with visit, detector, band, path"),
        ("visit,detector,band,path\n", r"a header but no exposures"),
        (
            "visit,ccd,Filter,path\n1,2,i,a\n",
            r"line 1: column 'detector' is missing \(is it 'ccd'\? then rename it\); "
            r"column 'band' is missing \(is it 'Filter'\?",
        ),
        ("visit,detector,band,pth\n1,2,i,a\n", r"'path' is missing \(is it 'pth'\?"),
        ("visit,detector,band,xyzzy\n1,2,i,a\n", r"'path' is missing\. The header line is: visit"),
        ("visit,visit,detector,band,path\n", r"line 1: column 'visit' is there twice"),
        ("visit,detector,band,path\n1,2,i,a\n1.0,2,i,a\n", r"line 3: visit '1.0' is not a whole"),
        ("visit,detector,band,path\n1,-2,i,a\n", r"line 2: detector '-2' is not a whole"),
        ("visit,detector,band,path\n1_0,2,i,a\n", r"visit '1_0' is not a whole"),
        ("visit,detector,band,path\n٣,2,i,a\n", r"line 2: visit '٣' is not a whole"),
        (f"visit,detector,band,path\n{10**18},2,i,a\n", r"of at most 18 digits"),
        ("visit,detector,band,path\n,2,i,a\n", r"line 2: visit '' is not a whole"),
        ("visit,detector,band,path\n1,2,,a\n", r"line 2: band '' cannot be part of a file name"),
        ("visit,detector,band,path\n1,2,i/z,a\n", r"band 'i/z' cannot be part"),
        ("visit,detector,band,path\n1,2,i,\n", r"line 2: path is empty"),
        ("visit,detector,band,path\n1,2,i\n", r"line 2: 3 cells where the header has 4"),
        (
            "visit,detector,band,path\n1,2,i,a\n\n1,02,i,b\n",
            r"line 4: 00000001-i-det002 is already on line 2",
        ),
        ('visit,detector,band,path\n1,2,i,"a\n', r"line 2: this is not CSV"),
        ("visit,detector,band,path\n1,2,i,a\0b\n", r"line 2: the path 'a.x00b' holds a char"),
    ],
)
def test_bad_exposure_table(table, text, message):
    with pytest.raises(TableError, match=message) as caught:
        read_exposures(table(text))
    assert "table.csv" in str(caught.value)
    assert caught.value.status == "bad_table"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,0,0,i,c.fits", r'line 2: 5 cells where .* put quotation marks around the patch, "0,0"'),
        ("1,48,i,c.fits", r"patch '48' is neither"),
        ('1,"(0,0",i,c.fits', r"is neither"),
        ('1,"0,0,0",i,c.fits', r"is neither"),
        ('x,"0,0",i,c.fits', r"tract 'x' is not a whole"),
        ('1,"0,0",i,c.fits\n1,"(0, 0)",i,d.fits', r"line 3: 1-0,0-i is already on line 2"),
    ],
)
def test_bad_coadd_table(table, line, message):
    with pytest.raises(TableError, match=message):
        read_coadds(table(f"tract,patch,band,path\n{line}\n"))


def test_line_number_after_a_quoted_line_break(table):
    path = table('visit,detector,band,path,note\n1,2,i,a.fits,"two\nlines"\n1,x,i,c.fits,\n')
    with pytest.raises(TableError, match="line 4: detector 'x'"):
        read_exposures(path)


def test_table_that_is_missing_or_not_text(tmp_path):
    with pytest.raises(TableError, match=r"gone.csv does not exist: correct the key 'coadds'"):
        read_coadds(tmp_path / "gone.csv")
    with pytest.raises(TableError, match="cannot be read: Is a directory"):
        read_exposures(tmp_path)
    (tmp_path / "latin.csv").write_bytes(b"visit,detector,band,path\n1,2,i,\xe9.fits\n")
    with pytest.raises(TableError, match="not a text file in UTF-8"):
        read_exposures(tmp_path / "latin.csv")


def test_unused_columns_are_said(table, caplog):
    path = table("visit,detector,band,path,seeing,wieght\n1,2,i,a.fits,0.7,w.fits\n")
    with caplog.at_level(logging.INFO):
        (row,) = read_exposures(path)
    assert row.weight is None
    assert "column 'seeing' is not used" in caplog.text
    assert "column 'wieght' is ignored: did you mean 'weight'?" in caplog.text


@pytest.mark.parametrize("text", ["", "0", "0,", "a,b", "(0, 0", "0, 0)", "-1,0", "0.5,1"])
def test_parse_patch_refuses(text):
    with pytest.raises(ValueError, match="is neither"):
        parse_patch(text)


def test_import_is_light():
    code = (
        "import sys, skydelta.tables; "
        "print({'numpy', 'astropy', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
