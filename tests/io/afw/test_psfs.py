"""PSFs written to an archive and read back, real files, and damaged ones."""

import io
import pickle
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skydelta.errors import BadPsfError, CorruptFileError, UnsupportedError, UntrustedError
from skydelta.io.afw import persistables
from skydelta.io.afw.archive import InputArchive
from skydelta.io.afw.output_archive import Catalog, OutputArchive
from skydelta.io.afw.rows import array_column, point_columns
from skydelta.lsst.affine_warp import WarpingControl
from skydelta.lsst.ast_text import text_of
from skydelta.lsst.coadd_psf import CoaddPsf, CoaddPsfInput
from skydelta.lsst.functions import (
    Chebyshev1Function2,
    DoubleGaussianFunction2,
    GaussianFunction2,
    PolynomialFunction2,
)
from skydelta.lsst.gaussian_psf import DoubleGaussianPsf, GaussianPsf, SingleGaussianPsf
from skydelta.lsst.kernel_psf import (
    AnalyticKernel,
    FixedKernel,
    KernelPsf,
    LinearCombinationKernel,
    PcaPsf,
)
from skydelta.lsst.polygon import Polygon
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.lsst.transform import TransformPoint2ToPoint2
from skydelta.lsst.warped_psf import WarpedPsf


def through_a_file(*things, **options):
    """Objects saved, the file's bytes written and read, and the archive of them; their numbers."""
    out = OutputArchive()
    numbers = [out.save(thing) for thing in things]
    primary = fits.PrimaryHDU()
    primary.header["AR_HDU"] = 2
    stream = io.BytesIO()
    fits.HDUList([primary, *out.hdus()]).writeto(stream)
    return InputArchive(fits.open(io.BytesIO(stream.getvalue())), **options), numbers


def read_back(psf):
    archive, (number,) = through_a_file(psf)
    return archive.load(number)


def assert_same(psf, other, x=(120.25, 400.0), y=(33.5, 91.75)):
    assert type(other) is type(psf)
    assert other.size == psf.size
    assert tuple(other.average_position) == tuple(psf.average_position)
    for got, expected in zip(other.images(x, y), psf.images(x, y), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(other.stamps(x, y), psf.stamps(x, y))


def psfex(terms=3, degree=1):
    y, x = np.mgrid[-10:11, -9:10]
    widths = 2.0 + np.arange(terms)
    components = np.exp(-0.5 * (x**2 + y**2) / widths[:, None, None] ** 2).astype(np.float32)
    components[1:] *= 0.1
    context = ((250.0, 240.0), (150.0, 140.0))
    return PsfexPsf(components, (degree,), (0, 0), context, 0.5, (243.0, 151.5))


def tilted(angle=0.3):
    return AnalyticKernel((15, 17), (7, 8), GaussianFunction2(2.0, 1.5, angle))


def varying(*functions):
    parts = [FixedKernel(np.eye(7) + k, (3, 3)) for k in range(len(functions))]
    return LinearCombinationKernel(parts, (3, 3), spatial_functions=functions)


@pytest.mark.parametrize(
    "psf",
    [
        GaussianPsf(21, 25, 2.5),
        SingleGaussianPsf(20, 25, 2.5),
        DoubleGaussianPsf(21, 25, 1.5, 3.5, 0.1),
        psfex(),
        psfex(terms=1, degree=0),
        KernelPsf(FixedKernel(np.arange(35.0).reshape(5, 7), (3, 1)), (5.0, 6.0)),
        KernelPsf(tilted(), (5.0, 6.0)),
        KernelPsf(AnalyticKernel((15, 15), (7, 7), DoubleGaussianFunction2(2.0, 3.0, 0.1))),
        PcaPsf(varying(PolynomialFunction2((1.0, 0.1, -0.1)), PolynomialFunction2((2.0,)))),
        PcaPsf(varying(Chebyshev1Function2((1.0, 0.1, 0.2), (0.0, -9.0), (500.0, 99.0)))),
        KernelPsf(LinearCombinationKernel((tilted(), tilted(1.0)), (7, 8), amplitudes=(1.0, 0.3))),
    ],
    ids=lambda psf: f"{type(psf).__name__}",
)
def test_round_trip(psf):
    assert_same(psf, read_back(psf))


def test_components_are_shared():
    """The same object is written once and read once."""
    kernel = FixedKernel(np.ones((3, 3)), (1, 1))
    archive, (a, b) = through_a_file(KernelPsf(kernel), KernelPsf(kernel, (1.0, 2.0)))
    assert a != b
    assert archive.load(a).kernel is archive.load(b).kernel


def tan(turn=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = (10.0, -20.0), (300.0, 200.0)
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = 5e-5 * np.array([[-c, s], [s, c]])
    return AstSkyWcs.from_fits(wcs)


LEFT = Polygon(((-0.5, -0.5), (350.0, -0.5), (350.0, 399.5), (-0.5, 399.5)))


def inputs(**fields):
    return [
        CoaddPsfInput(psfex(), tan(0.4), 1.5, (0, 0, 599, 399), LEFT, 1234567, **fields),
        CoaddPsfInput(psfex(), tan(-1.0), 0.5, (-9, -4, 599, 399), None, 2345678, **fields),
    ]


class TestCoaddPsf:
    def test_round_trip(self):
        psf = CoaddPsf(tan(), inputs(), (240.0, 150.0), "lanczos4", 500)
        other = read_back(psf)
        assert_same(psf, other, x=(240.25, 300.0), y=(150.0, 91.75))
        assert other.control == WarpingControl("lanczos4", 500)
        for one, expected in zip(other.inputs, psf.inputs, strict=True):
            assert (one.bbox, one.weight, one.id) == (expected.bbox, expected.weight, expected.id)
            assert (one.goodpix, one.tract) == (None, None)
        assert other.inputs[0].valid_polygon == LEFT
        assert other.inputs[1].valid_polygon is None

    def test_optional_columns(self):
        psf = CoaddPsf(tan(), inputs(goodpix=77, tract=4639, patch=8), (240.0, 150.0))
        for one in read_back(psf).inputs:
            assert (one.goodpix, one.tract, one.patch) == (77, 4639, 8)

    def test_before_july_2013(self, monkeypatch):
        """One catalogue, its last row the coadd's WCS; the average position is worked out."""
        psf = CoaddPsf(tan(), inputs())
        monkeypatch.setitem(persistables.WRITERS, "CoaddPsf", (__name__, "write_old_coadd"))
        assert_same(psf, read_back(psf), x=(240.25,), y=(150.0,))

    def test_without_rows(self, monkeypatch):
        psf = CoaddPsf(tan(), inputs(), (240.0, 150.0))
        object.__setattr__(psf, "inputs", ())
        monkeypatch.setitem(persistables.WRITERS, "CoaddPsf", (__name__, "write_empty_coadd"))
        with pytest.raises(BadPsfError, match="no input images"):
            read_back(psf)

    def test_input_whose_wcs_is_none(self):
        psf = CoaddPsf(tan(), inputs(), (240.0, 150.0))
        object.__setattr__(psf.inputs[1], "wcs", psf.inputs[1].psf)
        with pytest.raises(CorruptFileError, match="is a PsfexPsf, but is used as a WCS"):
            read_back(psf)

    def test_input_without_psf(self):
        psf = CoaddPsf(tan(), inputs(), (240.0, 150.0))
        object.__setattr__(psf.inputs[1], "psf", None)
        with pytest.raises(BadPsfError, match="input 2345678 of the CoaddPsf has no PSF"):
            read_back(psf)


def write_old_coadd(archive, psf):
    ones = psf.inputs
    rows = {
        "wcs": ("J", [archive.save(w) for w in (*(one.wcs for one in ones), psf.coadd_wcs)]),
        "psf": ("J", [*(archive.save(one.psf) for one in ones), 0]),
        "validPolygon": ("J", [*(archive.save(one.valid_polygon) for one in ones), 0]),
        "id": ("K", [*(one.id for one in ones), 0]),
        "bbox.min": ("2J", [*(one.bbox[:2] for one in ones), (0, 0)]),
        "bbox.max": ("2J", [*(one.bbox[2:] for one in ones), (0, 0)]),
        "weight": ("D", [*(one.weight for one in ones), 0.0]),
    }
    return archive.add("CoaddPsf", "lsst.meas.algorithms", Catalog(rows))


def write_empty_coadd(archive, psf):
    head = {"coaddwcs": ("J", [archive.save(psf.coadd_wcs)]), "cachesize": ("J", [10])}
    head |= {**point_columns("avgpos", "D", (0, 0)), "warpingkernelname": ("32A", ["lanczos3"])}
    number = archive.add("CoaddPsf", "lsst.meas.algorithms", Catalog(head))
    archive._index.append((number, 1, 1, 0, 0, "CoaddPsf", "lsst.meas.algorithms"))
    return number


@dataclass(frozen=True)
class Mirror:
    """A mapping that swaps left and right; a stand-in for AST's."""

    centre: float = 200.0

    def forward(self, x, y):
        return self.centre - np.asarray(x), np.asarray(y)

    inverse = forward


def write_mirror(archive, mirror):
    return archive.add("Mirror", "test", Catalog({"centre": ("D", [mirror.centre])}))


def read_mirror(archive, number):
    return Mirror(float(archive.row(number)["centre"]))


@pytest.mark.parametrize("kernel", ["lanczos5", "bilinear", "nearest"])
def test_warped_psf(kernel, monkeypatch):
    monkeypatch.setitem(persistables.READERS, "Mirror", (__name__, "read_mirror"))
    monkeypatch.setitem(persistables.WRITERS, "Mirror", (__name__, "write_mirror"))
    psf = WarpedPsf(KernelPsf(tilted()), Mirror(), WarpingControl(kernel, 100))
    other = read_back(psf)
    assert_same(psf, other)
    assert other.control == psf.control


def test_transform_of_ast():
    from starlink import Ast

    name = "TransformPoint2ToPoint2"
    transform = TransformPoint2ToPoint2(f"1 {name} {text_of(Ast.MatrixMap([[1.5, 0], [0.25, 1]]))}")
    other = read_back(transform)
    x, y = other.forward([2.0, 0.0], [1.0, 1.0])
    np.testing.assert_allclose((x, y), [[3.0, 0.0], [1.5, 1.0]], atol=1e-14)
    np.testing.assert_allclose(other.inverse(x, y), [[2.0, 0.0], [1.0, 1.0]], atol=1e-14)
    assert pickle.loads(pickle.dumps(other)).forward(2.0, 1.0)[0] == 3.0
    with pytest.raises(CorruptFileError):
        TransformPoint2ToPoint2(f"1 {name} nothing").forward(0.0, 0.0)


def test_model_of_a_plain_psfex_file_is_fitted():
    """Its class has the name of LSST's, but other conventions: it is not written as it is."""
    from scenes import make_exposure

    from skydelta.io.afw.psf_forms import parent_psf
    from skydelta.io.psfex import PsfexPsf as PlainPsfexPsf

    components = psfex().components.astype(float)
    plain = PlainPsfexPsf(components, 1, (120.0, 100.0), (120.0, 100.0), 0.5)
    exposure = make_exposure(np.zeros((200, 240)), psf=plain)
    fitted, deviation = parent_psf(exposure)
    assert type(fitted) is PsfexPsf
    assert deviation < 3e-3
    expected = plain.stamp(30.0, 150.0)
    half = min(fitted.size, plain.size) // 2
    a, b = (p.stamp(30.0, 150.0)[p.size // 2, p.size // 2 - half :] for p in (fitted, plain))
    np.testing.assert_allclose(a[: 2 * half], b[: 2 * half], atol=3e-3 * expected.max())


class TestPiff:
    def archive(self, **options):
        from skydelta.io.afw.psfs import write_piff

        out = OutputArchive()
        number = write_piff(out, SimpleNamespace(width=31, result=np.ones(3)))
        primary = fits.PrimaryHDU()
        primary.header["AR_HDU"] = 2
        return InputArchive(fits.HDUList([primary, *out.hdus()]), **options), number

    def test_refused_unless_trusted(self):
        archive, number = self.archive()
        with pytest.raises(UntrustedError, match=r"object 1\) is a PiffPsf.*input.trust_pickles"):
            archive.load(number)

    def test_trusted_is_unpickled(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "piff", SimpleNamespace(__name__="piff"))
        archive, number = self.archive(trusted=True)
        with pytest.raises(BadPsfError, match="px of a ndarray"):
            archive.load(number)


class TestDamage:
    def load(self, name, *catalogs):
        out = OutputArchive()
        number = out.add(name, "lsst", *(Catalog(columns) for columns in catalogs))
        primary = fits.PrimaryHDU()
        primary.header["AR_HDU"] = 2
        return InputArchive(fits.HDUList([primary, *out.hdus()])).load(number)

    def test_old_spelling_of_points(self):
        psf = self.load("GaussianPsf", {"dimensions": ("2J", [(21, 25)]), "sigma": ("D", [2.0])})
        assert (psf.width, psf.height) == (21, 25)

    def test_missing_column(self):
        with pytest.raises(CorruptFileError, match="no column dimensions_x"):
            self.load("GaussianPsf", {"sigma": ("D", [2.0])})
        with pytest.raises(CorruptFileError, match="sigma"):
            self.load("GaussianPsf", point_columns("dimensions", "J", (21, 21)))

    def test_bad_numbers(self):
        columns = {**point_columns("dimensions", "J", (21, 21)), "sigma": ("D", [np.nan])}
        with pytest.raises(BadPsfError, match="must be positive"):
            self.load("GaussianPsf", columns)

    def test_fewer_pixels_than_said(self):
        box = {**point_columns("dimensions", "J", (5, 5)), **point_columns("center", "J", (2, 2))}
        with pytest.raises(CorruptFileError, match="FixedKernel"):
            self.load("FixedKernel", {**box, "image": array_column("D", np.ones(20))})

    def test_psfex_with_fewer_pixels(self):
        archive, (number,) = through_a_file(psfex())
        row = archive.rows(number, 1)
        row["_size"] = (19, 20, 3)
        with pytest.raises(CorruptFileError, match="1197 component pixels, expected 3 x 20 x 19"):
            archive.load(number)

    def test_psfex_without_its_second_part(self):
        head = point_columns("averagePosition", "D", (0, 0)) | {"_pixstep": ("E", [1.0])}
        with pytest.raises(CorruptFileError, match="expected at least 2"):
            self.load("PsfexPsf", head)

    def test_analytic_kernel_that_varies(self):
        box = {**point_columns("dimensions", "J", (5, 5)), **point_columns("center", "J", (2, 2))}
        box |= {"spatialfunctions": ("2J", [(3, 4)]), "kernelfunction": ("J", [2])}
        with pytest.raises(UnsupportedError, match="vary with the position"):
            self.load("AnalyticKernel", box)

    def test_kernel_missing(self):
        columns = {"kernel": ("J", [0]), **point_columns("averagePosition", "D", (0, 0))}
        with pytest.raises(CorruptFileError, match="has no kernel"):
            self.load("KernelPsf", columns)
        with pytest.raises(CorruptFileError, match="no object 5"):
            self.load("KernelPsf", columns | {"kernel": ("J", [5])})


class TestRealFiles:
    @pytest.fixture
    def psf(self, shared_data):
        def read(name, **options):
            with fits.open(shared_data / "lsst_format" / name) as hdul:
                return InputArchive(hdul, **options).load(hdul[0].header["PSF_ID"])

        return read

    def test_kernel_psf(self, psf):
        found = psf("SIM_diffimTests_im1.fits.gz")
        assert isinstance(found, KernelPsf)
        assert found.size == 25
        assert found.stamp(0, 0).sum() == pytest.approx(1.0, abs=1e-12)
        assert found.compute_shape(0, 0).ixx > 1

    def test_gaussian_of_hsc(self, psf):
        found = psf("REAL_obs_base_calexp_HSC.fits.gz")
        assert (found.width, found.height, found.sigma) == (3, 3, 4.0)

    def test_piff_is_refused(self, psf):
        with pytest.raises(UntrustedError):
            psf("SIM_piff_exp.fits.gz")

    def test_piff_if_trusted(self, psf):
        pytest.importorskip("piff")
        found = psf("SIM_piff_exp.fits.gz", trusted=True)
        x, y = found.average_position
        stamps, _, _ = found.images([x], [y])
        assert stamps.sum() == pytest.approx(1.0, abs=1e-9)
        assert 1.0 < found.compute_shape(x, y).trace_radius < 4.0
