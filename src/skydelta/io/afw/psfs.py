"""Gaussian, PSFEx, warped and Piff PSFs to and from the rows of an archive."""

import numpy as np

from skydelta.errors import BadPsfError, CorruptFileError, UntrustedError
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.rows import array_column, load, point, point_columns

_ALGORITHMS = "lsst.meas.algorithms"


def read_gaussian(archive, number):
    """GaussianPsf or SingleGaussianPsf."""
    from skydelta.lsst import gaussian_psf

    row = archive.row(number)
    kind = getattr(gaussian_psf, archive.class_name(number))
    return kind(*point(row, "dimensions"), float(row["sigma"]))


def write_gaussian(archive, psf):
    """The counterpart of `read_gaussian`."""
    name = type(psf).__name__
    columns = point_columns("dimensions", "J", (psf.width, psf.height))
    columns["sigma"] = "D", [psf.sigma]
    module = "lsst.afw.detection" if name == "GaussianPsf" else _ALGORITHMS
    return archive.add(name, module, Catalog(columns))


def read_double_gaussian(archive, number):
    """DoubleGaussianPsf."""
    from skydelta.lsst.gaussian_psf import DoubleGaussianPsf

    row = archive.row(number)
    values = (float(row[name]) for name in ("sigma1", "sigma2", "b"))
    return DoubleGaussianPsf(*point(row, "dimensions"), *values)


def write_double_gaussian(archive, psf):
    """The counterpart of `read_double_gaussian`."""
    columns = point_columns("dimensions", "J", (psf.width, psf.height))
    columns |= {name: ("D", [getattr(psf, name)]) for name in ("sigma1", "sigma2", "b")}
    return archive.add("DoubleGaussianPsf", _ALGORITHMS, Catalog(columns))


def read_psfex(archive, number):
    """PsfexPsf."""
    from skydelta.lsst.psfex_psf import PsfexPsf

    head, row = archive.row(number, 0), archive.row(number, 1)
    # Arrays of length 1 come as numbers.
    group, degree, size = (
        np.atleast_1d(row[name]).tolist() for name in ("group", "degree", "_size")
    )
    if len(size) == 2:  # a model that does not vary
        size.append(1)
    width, height, terms = size
    components = np.atleast_1d(row["_comp"]).astype(np.float32)
    if components.size != width * height * terms:
        msg = (
            f"the PsfexPsf, archive object {number}, has {components.size} component pixels, "
            f"expected {terms} x {height} x {width}: the file is damaged"
        )
        raise CorruptFileError(msg)
    offsets, scales = (np.atleast_1d(row[f"_context_{k}"]).tolist() for k in ("first", "second"))
    return PsfexPsf(
        components=components.reshape(terms, height, width),
        degree=tuple(degree),
        group=tuple(group),
        context=tuple(zip(offsets, scales, strict=True)),
        pixstep=float(head["_pixstep"]),
        average_position=point(head, "averagePosition"),
    )


def write_psfex(archive, psf):
    """The counterpart of `read_psfex`; basis and coefficients, which nothing uses, are zero."""
    terms, height, width = psf.components.shape
    offsets, scales = zip(*psf.context, strict=True)
    sizes = {
        "ndim": len(psf.group),
        "ngroup": len(psf.degree),
        "ncoeff": terms,
        "_size_size": 3,
        "_comp_size": psf.components.size,
        "_context_size": len(psf.context),
    }
    head = {name: ("J", [value]) for name, value in sizes.items()}
    head |= point_columns("averagePosition", "D", psf.average_position)
    head["_pixstep"] = "E", [psf.pixstep]
    data = {
        "group": array_column("J", psf.group),
        "degree": array_column("J", psf.degree),
        "basis": array_column("D", np.zeros(terms)),
        "coeff": array_column("D", np.zeros(terms)),
        "_size": array_column("J", (width, height, terms)),
        "_comp": array_column("E", psf.components),
        "_context_first": array_column("D", offsets),
        "_context_second": array_column("D", scales),
    }
    module = "lsst.meas.extensions.psfex"
    return archive.add("PsfexPsf", module, Catalog(head), Catalog(data))


def read_warped(archive, number):
    """WarpedPsf."""
    from skydelta.lsst.warped_psf import WarpedPsf

    row = archive.row(number)
    parts = {
        "psf": load(archive, row["psfIndex"], "images", "PSF"),
        "transform": load(archive, row["transformIndex"], "inverse", "mapping of pixels"),
        "control": load(archive, row["controlIndex"], "cache_size", "WarpingControl"),
    }
    for name, part in parts.items():
        if part is None:
            msg = f"the WarpedPsf, archive object {number}, lacks its {name}: the file is damaged"
            raise BadPsfError(msg)
    return WarpedPsf(**parts)


def write_warped(archive, psf):
    """The counterpart of `read_warped`."""
    parts = {"psfIndex": psf.psf, "transformIndex": psf.transform, "controlIndex": psf.control}
    columns = {name: ("J", [archive.save(part)]) for name, part in parts.items()}
    return archive.add("WarpedPsf", _ALGORITHMS, Catalog(columns))


def read_piff(archive, number):
    """PiffPsf, if the file is trusted.

    Raises
    ------
    UntrustedError
        If it is not.
    """
    if not archive.trusted:
        msg = (
            f"its PSF (archive object {number}) is a PiffPsf, a Python pickle, and reading a "
            "pickle runs whatever code it holds: if you trust where these files come from set "
            "input.trust_pickles, or give a PSF file"
        )
        raise UntrustedError(msg)
    from skydelta.lsst.piff_psf import unpickled

    return unpickled(np.asarray(archive.row(number)["bytes"], np.uint8).tobytes())


def write_piff(archive, psf):
    """The counterpart of `read_piff`."""
    import pickle

    data = pickle.dumps((psf.width, psf.width, psf.result))
    columns = {"bytes": ("QB", [np.frombuffer(data, np.uint8)])}
    return archive.add("PiffPsf", "lsst.meas.extensions.piff.piffPsf", Catalog(columns))
