"""Simulated LSST repositories: geometry, PSFs, pixels, and the files around them."""

import csv
import io
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.optimize import least_squares

from skydelta import Repository
from skydelta.cli import main
from skydelta.io.reader import read_exposure
from skydelta.io.skymap import read_skymap
from skydelta.io.skymap_pickle_writer import write_skymap_pickle
from skydelta.io.tracts_mapping import overlaps_of
from skydelta.lsst.coadd_psf import CoaddPsf
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.psf import resize_stamps, sample_psf, shift_stamps
from skydelta.simulate.lsst import simulate_lsst_survey
from skydelta.simulate.lsst_coadds import TractTemplate
from skydelta.simulate.lsst_plan import FIRST_VISIT, SMALL_DC2, plan_lsst_survey
from skydelta.skymap import CONFIGURATIONS, PlainPatches, SkyMapConfig

CALEXP = {"visit": 1013665, "detector": 79, "band": "i"}
TINY = {"shape": (128, 128), "detectors": (79,)}


@pytest.fixture(scope="module")
def plan():
    return plan_lsst_survey()


@pytest.fixture(scope="module")
def repo(lsst_survey):
    return Repository(lsst_survey.root)


def coadds(repo):
    return repo.datasets("deepCoadd")


def coadd_psf(coadd):
    """The PSF in the tract's pixels; the first patch of a tract has just these."""
    return coadd.psf if coadd.xy0 == (0, 0) else coadd.psf.psf


class TestGeometry:
    def test_three_tracts_meet_in_the_field(self, plan):
        tracts = [{tract for tract, _ in keys} for keys in plan.edges]
        assert set.union(*tracts) == {4432, 4639, 4640}
        assert all(len(each) >= 2 for each in tracts)

    def test_every_exposure_has_several_patches_of_a_tract(self, plan):
        for keys in plan.edges:
            assert max(sum(t == tract for t, _ in keys) for tract in {t for t, _ in keys}) >= 4

    def test_tracts_have_dc2s_numbers_and_centres(self, plan):
        dc2 = CONFIGURATIONS["DC2"]
        assert plan.skymap.config.num_rings == dc2.num_rings
        assert plan.skymap[4639].centre == pytest.approx((56.303317535545, -30.495867768595))

    def test_repository_and_mapping_agree(self, repo, lsst_survey, plan):
        mapping = lsst_survey.root / "tracts_mapping.sqlite3"
        for pointing, keys in zip(plan.pointings, plan.edges, strict=True):
            found = overlaps_of(mapping, pointing.visit, pointing.detector, "i")
            assert [(tract, patch) for tract, patch, _ in found] == sorted(keys)
        found = repo.find_exposures(tract=4639, patch=(0, 0), band="i")
        expected = {
            p.detector
            for p, keys in zip(plan.pointings, plan.edges, strict=True)
            if (4639, (0, 0)) in keys
        }
        assert {one["detector"] for one in found} == expected

    def test_sky_map_gives_the_same_coadds_as_the_mapping(self, repo, lsst_survey, tmp_path):
        known = repo.find_coadds(**CALEXP)
        for name in ("calexp", "deepCoadd"):
            (tmp_path / name).symlink_to(lsst_survey.root / name)
        assert Repository(tmp_path).find_coadds(**CALEXP) == known

    def test_coadds_are_the_patches_with_data(self, repo, plan):
        made = {(one["tract"], one["patch"]) for one in coadds(repo)}
        assert made <= {key for keys in plan.edges for key in keys}
        assert len(made) >= 12


class TestExposure:
    def test_psf_is_the_plans(self, repo, plan):
        (pointing,) = [p for p in plan.pointings if p.detector == 79]
        psf = repo.get("calexp", **CALEXP).psf
        assert isinstance(psf, PsfexPsf)
        assert (psf.degree, psf.pixstep, psf.box) == ((2,), 0.5, (41, 41))
        x, y = np.array([10.2, 300.0]), np.array([499.0, 120.7])
        assert np.array_equal(psf.stamps(x, y), pointing.psf.stamps(x, y))

    def test_psf_is_near_that_of_the_optics(self, plan):
        """But for wings cut off and widths of terms higher than the model's."""
        for pointing in plan.pointings:
            shape = pointing.psf.compute_shape(200.0, 300.0)
            assert 3.5 < shape.fwhm < 5.5
            assert pointing.psf.stamp(200.0, 300.0).sum() == pytest.approx(1.0)

    def test_what_the_file_says(self, repo, plan):
        exposure = repo.get("calexp", **CALEXP)
        (pointing,) = [p for p in plan.pointings if p.detector == 79]
        assert exposure.info.detector.name == "R20_S21"
        assert exposure.info.filter_label.band == "i"
        assert exposure.info.visit_info.mjd_tai == pytest.approx(pointing.mjd, abs=1e-11)
        assert exposure.photo_calib.zero_point == pytest.approx(pointing.conditions.zero_point)
        assert exposure.info.valid_polygon.contains(0.0, 511.0)
        correction = exposure.info.ap_corr_map.fields["base_PsfFlux_instFlux"]
        assert correction.evaluate(255.5, 255.5) == pytest.approx(1.0)
        assert exposure.gain == pytest.approx(1.5)

    def test_wcs_of_header_and_archive_agree(self, repo):
        exposure = repo.get("calexp", **CALEXP)
        x, y = np.array([0.0, 511.0, 100.0]), np.array([0.0, 511.0, 400.0])
        given, archived = exposure.wcs.all_pix2world(x, y, 0), exposure.info.sky_wcs
        assert np.allclose(given, archived.pixel_to_sky(x, y), rtol=0, atol=1e-9)

    def test_catalogue_scatters_by_its_errors(self, repo):
        """Its fluxes against a fit of the file's PSF to the file's pixels, with the same noise."""
        exposure, src = repo.get("calexp", **CALEXP), repo.get("src", **CALEXP)
        assert len(src) > 40
        assert "base_PsfFlux_flag" in src.colnames
        x, y = src["base_SdssCentroid_x"].data, src["base_SdssCentroid_y"].data
        inside = (np.minimum(x, y) > 25) & (np.maximum(x, y) < 486)
        pulls = []
        for row in src[inside & ~src["base_PixelFlags_flag_saturated"]]:
            at = row["base_SdssCentroid_x"], row["base_SdssCentroid_y"]
            stamps, x0, y0 = exposure.psf.images([at[0]], [at[1]])
            box = slice(y0[0] + 12, y0[0] + 29), slice(x0[0] + 12, x0[0] + 29)
            stamp, pixels = stamps[0][12:29, 12:29], exposure.image[box]
            fitted = np.linalg.lstsq(
                np.stack([stamp.ravel(), np.ones(stamp.size)], axis=1), pixels.ravel(), rcond=None
            )[0][0]
            flux, error = row["base_PsfFlux_instFlux"], row["base_PsfFlux_instFluxErr"]
            pulls.append((fitted - flux) / np.hypot(error, 0.01 * flux))
        middle = np.percentile(pulls, [25, 50, 75])
        assert abs(middle[1]) < 1.0
        assert 0.5 < (middle[2] - middle[0]) / 1.35 < 3.0


class TestCoadd:
    def test_psf_is_a_mean_of_turned_inputs(self, repo):
        counts = []
        for data_id in coadds(repo):
            coadd = repo.get("deepCoadd", **data_id)
            patch = repo.skymap[data_id["tract"]].patch(data_id["patch"])
            assert coadd.bbox == patch.outer_bbox
            psf = coadd_psf(coadd)
            assert isinstance(psf, CoaddPsf)
            assert all(isinstance(one.psf, PsfexPsf) for one in psf.inputs)
            counts.append(len(psf.inputs))
        assert max(counts) == 4

    def test_inputs_end_within_patches(self, plan):
        window = next(w for w in plan.windows if w.tract.id == 4639)
        template = TractTemplate(window, plan.inputs["i"])
        x0, y0, x1, y1 = window.bbox
        x, y = (a.ravel() for a in np.meshgrid(np.arange(x0, x1, 40.0), np.arange(y0, y1, 40.0)))
        sky = template.sky_wcs.pixel_to_sky(x, y)
        inside = [one.contains(*one.wcs.sky_to_pixel(*sky)) for one in template.psf.inputs]
        assert inside[0].all()
        assert all(0.02 < part.mean() < 0.98 for part in inside[1:])

    def test_psf_of_a_patch_is_that_of_the_tract(self, plan):
        window = next(w for w in plan.windows if w.tract.id == 4432)
        template = TractTemplate(window, plan.inputs["i"])
        rng = np.random.default_rng(3)
        for patch in window.patches[:3]:
            conditions = template.inputs_of(patch)
            x0, y0, x1, y1 = patch.outer_bbox
            x, y = rng.uniform(x0, x1, 40), rng.uniform(y0, y1, 40)
            sky = template.sky_wcs.pixel_to_sky(x, y)
            for one, part in zip(plan.inputs["i"], template.psf.inputs, strict=True):
                if part.contains(*part.wcs.sky_to_pixel(*sky)).any():
                    assert one in conditions

    def test_inputs_are_listed(self, repo):
        coadd = repo.get("deepCoadd", tract=4639, patch=(1, 0), band="i")
        ccds = coadd.info.coadd_inputs.ccds
        assert sorted(ccds.columns["id"]) == sorted(one.id for one in coadd_psf(coadd).inputs)
        assert set(ccds.columns["visit"]) == set(coadd.info.coadd_inputs.visits.columns["id"])

    def test_patches_share_their_pixels_and_psf(self, repo):
        left, right = (repo.get("deepCoadd", tract=4639, patch=(px, 0), band="i") for px in (0, 1))
        shared = right.bbox[0], left.bbox[2] + 1
        cut = [slice(shared[0] - one.bbox[0], shared[1] - one.bbox[0]) for one in (left, right)]
        assert shared[1] - shared[0] == 100
        assert np.array_equal(left.image[:, cut[0]], right.image[:, cut[1]])
        x, y = shared[0] + 50.0, 300.0
        a, b = (coadd_psf(one).stamp(x, y) for one in (left, right))
        size = min(a.shape[0], b.shape[0])
        assert np.allclose(resize_stamps(a, size), resize_stamps(b, size), rtol=0, atol=1e-9)

    def test_stars_have_the_coadds_psf(self, repo):
        """Bright stars, scaled and taken away, leave a few per mille and noise."""
        coadd = repo.get("deepCoadd", tract=4639, patch=(0, 1), band="i")
        good = ~coadd.mask.any("NO_DATA", "SAT")
        image = np.where(good, coadd.image, 0.0)
        noise = np.sqrt(np.nanmedian(coadd.variance))
        left = []
        for _ in range(8):
            y, x = np.unravel_index(np.argmax(image), image.shape)
            cut = slice(y - 8, y + 9), slice(x - 8, x + 9)
            if good[cut].shape == (17, 17) and good[cut].all():
                left.append(_residual(coadd, cut, x, y))
            image[slice(max(y - 30, 0), y + 31), slice(max(x - 30, 0), x + 31)] = 0.0
        assert noise > 0
        assert len(left) >= 3
        assert np.median(left) < 0.01


def _residual(coadd, cut, x, y):
    """Largest residual of a star after a fit of flux, level and position, per its peak."""
    pixels = coadd.image[cut].astype(float)
    middle = coadd.psf.size // 2

    def model(p):
        stamp = shift_stamps(coadd.psf.stamps([x], [y]), [p[2]], [p[3]])[0]
        return p[0] * stamp[middle - 8 : middle + 9, middle - 8 : middle + 9] + p[1]

    start = [pixels.sum(), 0.0, 0.0, 0.0]
    found = least_squares(lambda p: (model(p) - pixels).ravel() / pixels.max(), start)
    return np.abs(found.fun).max()


class TestNativeTwin:
    def test_pixels_are_the_same(self, lsst_survey, repo):
        for table, dataset in (("exposures", "calexp"), ("coadds", "deepCoadd")):
            with (lsst_survey.native / f"{table}.csv").open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            assert len(rows) == len(repo.datasets(dataset))
            for row in rows[::5]:
                data_id = {key: row[key] for key in row if key not in ("path",)}
                lsst = repo.get(dataset, **data_id)
                native = read_exposure(lsst_survey.native / row["path"])
                assert np.array_equal(lsst.image, native.image)
                assert np.array_equal(lsst.variance, native.variance, equal_nan=True)
                assert np.array_equal(lsst.mask.canonical().array, native.mask.canonical().array)
                corner = np.array([-0.5, 300.0]), np.array([20.0, 511.0])
                skies = [e.wcs.all_pix2world(*corner, 0) for e in (lsst, native)]
                assert np.allclose(*skies, rtol=0, atol=1e-10)

    def test_linear_models_need_two_nodes(self):
        """Stamps linear in the position are exact; whole-pixel shifts interpolate nothing."""
        plan = plan_lsst_survey(
            **TINY,
            centre=(56.3033, -30.4959),
            psf_degree=1,
            psf_pixstep=1.0,
            aligned_inputs=True,
        )
        x, y = np.array([0.0, 33.3, 127.0]), np.array([127.0, 80.1, 5.0])
        (pointing,), (window,) = plan.pointings, plan.windows
        grid = sample_psf(pointing.psf, (128, 128), 2)
        exact = pointing.psf.stamps(x, y)
        assert np.abs(grid.stamps(x, y) - exact).max() < 1e-6 * exact.max()
        psf = TractTemplate(window, plan.inputs["i"]).psf
        at = np.round(window.bbox[0] + x), np.round(window.bbox[1] + y)
        weights = [one.weight for one in psf.inputs]
        means = [
            one.psf.stamps(*one.wcs.sky_to_pixel(*psf.coadd_wcs.pixel_to_sky(*at)))
            for one in psf.inputs
        ]
        mean = resize_stamps(np.average(means, axis=0, weights=weights), psf.size)
        # The stack tabulates its warping kernel: 10,000 phases to a pixel, each for its middle.
        assert np.abs(psf.stamps(*at) - mean).max() < 5e-5 * mean.max()


class TestFiles:
    def test_same_seed_same_pixels(self, tmp_path):
        few = {"star_density": 10, "galaxy_density": 10, "centre": (56.3033, -30.4959)}
        for name in ("a", "b"):
            simulate_lsst_survey(tmp_path / name, **TINY, **few)
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*"))
        assert len([f for f in files if f.suffix == ".fits"]) >= 3
        for name in (f for f in files if (tmp_path / "a" / f).is_file()):
            one, two = ((tmp_path / run / name).read_bytes() for run in ("a", "b"))
            assert one == two, name

    def test_truth_is_in_the_root(self, lsst_survey):
        truth = Table.read(lsst_survey.truth, format="ascii.csv")
        assert set(truth["detector"]) == {78, 79, 80, 81}

    def test_images_are_afws_and_of_dc2s_version(self, repo):
        with fits.open(repo.path("calexp", **CALEXP)) as hdul:
            assert hdul[0].header["EXPINFO_V"] == 1
            assert [h.header["EXTTYPE"] for h in hdul[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
            classes = {row["name"] for row in hdul["ARCHIVE_INDEX"].data}
        assert {"PsfexPsf", "SkyWcs", "PhotoCalib", "Detector", "ApCorrMap", "Polygon"} <= classes

    def test_bands_and_versions(self, tmp_path):
        options = {"bands": ("g", "i"), "expinfo_version": 2}
        few = {"star_density": 5, "galaxy_density": 5, "centre": (56.3033, -30.4959)}
        simulate_lsst_survey(tmp_path, **TINY, **few, **options)
        repo = Repository(tmp_path)
        taken = repo.datasets("calexp")
        assert [(t["visit"] - FIRST_VISIT, t["band"]) for t in taken] == [(0, "g"), (1, "i")]
        coadds = {band: repo.datasets("deepCoadd", band=band) for band in "gi"}
        assert len(coadds["g"]) == len(coadds["i"]) > 0
        exposure = repo.get("calexp", **taken[1])
        assert (exposure.info.filter_label.band, exposure.band) == ("i", "i")
        inputs = [
            set(repo.get("deepCoadd", **coadds[band][0]).info.coadd_inputs.visits.columns["id"])
            for band in "gi"
        ]
        assert not inputs[0] & inputs[1]

    @pytest.mark.parametrize(
        "config", [SMALL_DC2, SkyMapConfig(60, 0.168, 0.02, PlainPatches((100, 200), 5), 3.0, 7.5)]
    )
    def test_sky_map_is_what_lsst_skymap_loads(self, tmp_path, monkeypatch, config):
        path = tmp_path / "skyMap.pickle"
        write_skymap_pickle(path, config)
        assert read_skymap(path).config == config
        loaded = _unpickled(path.read_bytes(), monkeypatch)
        assert loaded.version == config.version
        assert loaded.config.patchInnerDimensions == list(config.patches.inner)
        assert loaded.config.numRings == config.num_rings
        assert loaded.config.tractOverlap == config.tract_overlap

    def test_cells_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="cells"):
            write_skymap_pickle(tmp_path / "skyMap.pickle", CONFIGURATIONS["DC2_cells_v1"])


def _unpickled(data, monkeypatch):
    """The pickle loaded by Python, with stand-ins for the classes of lsst.skymap it asks for."""

    class RingsSkyMapConfig:
        pass

    class RingsSkyMap:
        def __init__(self, config, version):
            self.config, self.version = config, version

    def unreduce(cls, text):
        config = cls()
        exec(text, {"config": config})
        return config

    for name in ("lsst", "lsst.skymap", "lsst.pex", "lsst.pex.config"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    rings, config = ModuleType("lsst.skymap.ringsSkyMap"), ModuleType("lsst.pex.config.config")
    rings.RingsSkyMap, rings.RingsSkyMapConfig = RingsSkyMap, RingsSkyMapConfig
    config.unreduceConfig = unreduce
    sys.modules["lsst"].skymap = sys.modules["lsst.skymap"]
    sys.modules["lsst.skymap"].ringsSkyMap = rings
    monkeypatch.setitem(sys.modules, rings.__name__, rings)
    monkeypatch.setitem(sys.modules, config.__name__, config)
    return pickle.load(io.BytesIO(data))


class TestCommand:
    def test_repository_and_twin(self, tmp_path, capsys):
        root, native = tmp_path / "repo", tmp_path / "native"
        options = ["--detectors", "79", "--shape", "128", "128", "--seed", "5"]
        command = ["simulate", str(root), "--format", "lsst", "--native", str(native), *options]
        assert main(command) == 0
        said = capsys.readouterr().out
        assert f"repository='{{calexp: {root}}}'" in said
        assert Repository(root).get("calexp", **CALEXP).shape == (128, 128)
        assert (native / "coadds.csv").exists()

    def test_native(self, tmp_path, capsys):
        options = ["--detectors", "0", "--shape", "100", "120", "--bands", "g"]
        assert main(["simulate", str(tmp_path / "demo"), *options]) == 0
        assert "exposures.csv" in capsys.readouterr().out
        with (tmp_path / "demo" / "exposures.csv").open(newline="") as stream:
            (row,) = csv.DictReader(stream)
        assert (row["detector"], row["band"]) == ("0", "g")
        assert read_exposure(tmp_path / "demo" / row["path"]).shape == (100, 120)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--format", "lsst", "--detectors", "200"], "there is no 200"),
            (["--detectors", "1", "1"], "not different numbers"),
            (["--bands", "r", "r"], "not all different"),
            (["--seed", "-1"], "must not be negative"),
            (["--native", "twin"], "--native is for --format lsst"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, capsys, options, says):
        assert main(["simulate", str(tmp_path / "new"), *options]) != 0
        assert says in capsys.readouterr().err
        assert not (tmp_path / "new").exists()

    def test_a_used_folder_is_refused(self, tmp_path, capsys):
        (tmp_path / "mine.fits").touch()
        assert main(["simulate", str(tmp_path)]) != 0
        assert "not an empty folder" in capsys.readouterr().err
