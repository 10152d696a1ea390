"""The gallery of stamps: what is shown, how it is cut, what is said about it."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scenes import make_exposure, star_field, white_noise

from skydelta.dia_source import COLUMNS
from skydelta.mask import Mask
from skydelta.report.gallery import caption, flag_words, gallery, select

SHAPE = (200, 240)


def catalogue_of(x, y, snr, **columns):
    catalogue = {
        c.name: np.full(len(x), "", object) if c.dtype == "U" else np.zeros(len(x), c.dtype)
        for c in COLUMNS
    }
    catalogue |= {"x": np.asarray(x, float), "y": np.asarray(y, float)}
    catalogue |= {"snr": np.asarray(snr, float), "psfFlux": 10 * np.asarray(snr, float)}
    catalogue["reliability"][:] = np.nan
    catalogue["diaSourceId"] = np.arange(len(x)) + 2**62
    return catalogue | {name: np.asarray(values) for name, values in columns.items()}


def scene(catalogue, *, unusable=None):
    """A star that stays and one that is new at (60, 80); sigma 1, kernel sum 2."""
    static = star_field(SHAPE, [180.0], [120.0], [4000.0], 2.0)
    change = star_field(SHAPE, [60.0], [80.0], [1000.0], 2.0)
    noise = white_noise(SHAPE, 3)
    mask = Mask.empty(SHAPE)
    if unusable is not None:
        mask = mask.with_plane("NO_DATA", unusable)
    difference = make_exposure(change + noise, mask=mask)
    template = make_exposure(static / 2)
    loaded = SimpleNamespace(
        entry=SimpleNamespace(name="00000007-i-det004"),
        catalogue=catalogue,
        science=(static + change + noise).astype(np.float32),
        template=template,
        subtracted=make_exposure(change + noise, meta={"KSUM": 2.0, "SCIFWHM": 4.7}),
        difference=difference,
    )
    summary = SimpleNamespace(sigmas=difference.image, blank=np.hypot(static, change) < 0.1)
    return loaded, summary


def sprite_of(html):
    data = re.search(r'href="data:image/png;base64,([^"]+)"', html).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_unflagged_first_and_each_by_significance():
    flags = [False, True, False, True, False]
    catalogue = catalogue_of(np.zeros(5), np.zeros(5), [9, 90, 30, 50, 7.9], psfFlux_flag=flags)
    assert select(catalogue, 10)[0].tolist() == [2, 0, 1, 3]
    chosen, total = select(catalogue, 3)
    assert (chosen.tolist(), total) == ([2, 0, 1], 4)


def test_one_picture_and_a_window_for_each():
    loaded, summary = scene(catalogue_of([60, 180, 5], [80, 120, 190], [50, 20, 10]))
    html = gallery(loaded, summary, 60)
    assert html.count("data:image/png") == 1
    views = re.findall(r'viewBox="0 (\d+) (\d+) (\d+)"', html)
    side = 2 * 19 + 1  # 4 FWHM to each side
    assert views == [(str(k * (side + 2)), str(3 * side + 4), str(side)) for k in range(3)]
    assert sprite_of(html).shape == (3 * (side + 2), 3 * side + 4, 4)
    assert "All 3" in html


def test_stamps_show_what_is_there():
    """Science dark where the new star is, template light, the difference red; the other blue."""
    loaded, summary = scene(catalogue_of([60], [80], [50]))
    pixels = sprite_of(gallery(loaded, summary, 60)).astype(int)
    side = 39
    middles = [pixels[side // 2, k * (side + 2) + side // 2] for k in range(3)]
    science, template, difference = middles
    assert science[0] < 60
    assert template[0] > 180
    assert difference[0] > difference[2] + 60
    gap = pixels[:side, side : side + 2]
    assert (gap[..., 3] == 0).all()
    loaded.difference = make_exposure(-loaded.difference.image)
    summary.sigmas = loaded.difference.image
    difference = sprite_of(gallery(loaded, summary, 60)).astype(int)[side // 2, 2 * 41 + side // 2]
    assert difference[2] > difference[0] + 60


def test_science_and_template_share_their_stretch():
    """A star that subtracts looks the same on both: the template times the kernel sum."""
    loaded, summary = scene(catalogue_of([180], [120], [50]))
    pixels = sprite_of(gallery(loaded, summary, 60)).astype(int)
    side = 39
    core = slice(side // 2 - 2, side // 2 + 3)
    science, template = (pixels[core, k * 41 :, 0][:, core] for k in (0, 1))
    assert np.abs(science - template).max() <= 6


def test_y_runs_upwards():
    loaded, summary = scene(catalogue_of([60], [75], [50]))
    pixels = sprite_of(gallery(loaded, summary, 60)).astype(int)[:39, :39, 0]
    dark = (pixels < 100).sum(axis=1)
    assert np.average(np.arange(dark.size), weights=dark) == pytest.approx(19 - 5, abs=0.5)


def test_unusable_pixels_are_marked_and_set_no_scale():
    unusable = np.zeros(SHAPE, bool)
    unusable[90:, :] = True
    loaded, summary = scene(catalogue_of([60], [80], [50]), unusable=unusable)
    summary.sigmas = np.where(unusable, np.float32(1e9), summary.sigmas)
    pixels = sprite_of(gallery(loaded, summary, 60)).astype(int)
    assert pixels[2, 2 * 41 + 5, :3].tolist() == [242, 193, 78]
    middle = pixels[19, 2 * 41 + 19]
    assert middle[0] > middle[2] + 60


def test_what_is_left_out_is_said():
    loaded, summary = scene(catalogue_of([60, 180, 5], [80, 120, 190], [50, 20, 10]))
    html = gallery(loaded, summary, 2)
    assert "The first 2 of 3; 1 are left out" in html
    assert html.count("<figure") == 2
    assert "3, none shown" in gallery(loaded, summary, 0)


def test_nothing_to_show():
    loaded, summary = scene(catalogue_of([60], [80], [7.0]))
    assert "None." in gallery(loaded, summary, 60)


@pytest.mark.parametrize("position", [(-3.0, 50.0), (239.4, 199.3), (500.0, 500.0)])
def test_at_and_beyond_the_edge(position):
    loaded, summary = scene(catalogue_of(*([v] for v in position), [20]))
    loaded.template = make_exposure(np.full(SHAPE, np.nan))
    assert sprite_of(gallery(loaded, summary, 60)).shape[1] == 3 * 39 + 4


def test_size_is_bounded():
    """A page of 40 exposures of 60 stamps each stays below 20 MB: pure noise compresses worst."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(20, 220, 60), rng.uniform(20, 180, 60)
    loaded, summary = scene(catalogue_of(x, y, np.full(60, 9.0)))
    assert len(gallery(loaded, summary, 60)) < 500_000


class TestCaption:
    def test_numbers(self):
        catalogue = catalogue_of([1], [2], [12.34], psfFlux=[-12345.6], psfFluxErr=[1000.0])
        catalogue |= {"psfMag": np.array([np.nan]), "reliability": np.array([0.876])}
        catalogue |= {"isDipole": np.array([True])}
        words = caption(catalogue, 0)
        assert f"id {2**62}" in words
        assert "S/N 12.3" in words
        assert "−12\u2009346 ± 1\u2009000\u00a0nJy" in words
        assert "reliability\u00a00.88" in words
        assert "dipole" in words
        assert "AB" not in words

    def test_unknown_reliability_is_not_mentioned(self):
        words = caption(catalogue_of([1], [2], [12.0]), 0)
        assert "reliability" not in words
        assert "dipole" not in words

    def test_flags_in_plain_words(self):
        catalogue = catalogue_of([1], [2], [12.0])
        assert flag_words(catalogue, 0) == []
        for name in (
            "psfFlux_flag",
            "pixelFlags_saturated",
            "pixelFlags_cr",
            "pixelFlags_crCenter",
        ):
            catalogue[name] = np.array([True])
        assert flag_words(catalogue, 0) == [
            "PSF flux unusable",
            "cosmic ray at the centre",
            "saturated",
        ]

    def test_every_pixel_flag_has_its_words(self):
        for column in COLUMNS:
            if column.name.startswith("pixelFlags"):
                catalogue = catalogue_of([1], [2], [12.0])
                catalogue[column.name] = np.array([True])
                assert flag_words(catalogue, 0), column.name
