import json

import numpy as np
import pytest
from astropy.io import fits

from skydelta import errors
from skydelta.errors import BadPsfError, SkydeltaError, TooFewStarsError
from skydelta.io.outcome import StageFailure, raise_failure, write_failure, write_status


def marker(path):
    with fits.open(path) as hdul:
        assert len(hdul) == 1
        return hdul[0].header.copy()


def test_marker_and_back(tmp_path):
    message = "3 stars, need 5: " + "lower subtract.stars.min_snr or min_stars " * 5
    write_failure(tmp_path / "a.fits", TooFewStarsError(message), "subtract")
    with pytest.raises(StageFailure) as caught:
        raise_failure(marker(tmp_path / "a.fits"))
    assert caught.value.status == "too_few_stars"
    assert caught.value.stage == "subtract"
    assert str(caught.value) == message.strip()


def test_the_first_stage_is_kept(tmp_path):
    """A marker passed on names the stage that failed, not those that met it."""
    write_failure(tmp_path / "a.fits", BadPsfError("even stamp"), "template")
    try:
        raise_failure(marker(tmp_path / "a.fits"))
    except StageFailure as error:
        write_failure(tmp_path / "b.fits", error, "subtract")
    header = marker(tmp_path / "b.fits")
    assert (header["STATUS"], header["STATSTAG"]) == ("bad_psf", "template")
    assert header["STATMSG"] == "even stamp"


def test_same_bytes(tmp_path):
    for name in "ab":
        write_failure(tmp_path / name, BadPsfError("σ is 0\nhere"), "template")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert marker(tmp_path / "a")["STATMSG"] == "? is 0 here"


def test_products_are_no_failures():
    raise_failure(fits.Header())
    raise_failure(fits.Header({"STATUS": "ok"}))


def test_status_is_plain_json(tmp_path):
    status = {
        "nan": np.nan,
        "infinite": np.inf,
        "float": np.float32(0.5),
        "int": np.int64(3),
        "bool": np.bool_(True),
        "list": (1, np.nan, "x"),
        "dict": {"rejected": np.int32(1), 7: None},
        "text": "ok",
    }
    write_status(tmp_path / "s.json", status)
    text = (tmp_path / "s.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {
        "nan": None,
        "infinite": None,
        "float": 0.5,
        "int": 3,
        "bool": True,
        "list": [1, None, "x"],
        "dict": {"rejected": 1, "7": None},
        "text": "ok",
    }
    assert list(json.loads(text)) == sorted(status)


def test_every_failure_has_a_word_of_its_own():
    family = [
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SkydeltaError)
    ]
    words = [c.status for c in family]
    assert len(set(words)) == len(words)
    assert all(word.replace("_", "").isalpha() and word.islower() for word in words)


def test_details():
    assert TooFewStarsError("few", n_stars=2).details == {"n_stars": 2}
