"""The files between the stages: template, subtraction, detections, measurements, catalogue."""

import numpy as np
from astropy.io import fits

from skydelta.errors import SkydeltaError
from skydelta.io.native import add_notes, read_native, read_psf, replacing, write_exposure

_FORMATS = {"f8": "D", "f4": "E", "i8": "K", "i4": "J", "i2": "I", "?": "L", "b1": "L"}


def table_hdu(columns, name, units=None, header=None):
    """A binary table from a dict of arrays (or a structured array), with units by column name."""
    units = units or {}
    names = columns.dtype.names if isinstance(columns, np.ndarray) else list(columns)
    out = []
    for key in names:
        values = np.asarray(columns[key])
        code = values.dtype.str.lstrip("<>|=")
        size = int(np.prod(values.shape[1:])) if values.ndim > 1 else 1
        repeat = "" if values.ndim == 1 else str(size)
        dim = None if values.ndim < 3 else f"({','.join(map(str, values.shape[:0:-1]))})"
        kind = f"{max(values.dtype.itemsize // 4, 1)}A" if code.startswith("U") else _FORMATS[code]
        out.append(fits.Column(key, f"{repeat}{kind}", unit=units.get(key), dim=dim, array=values))
    hdu = fits.BinTableHDU.from_columns(out, name=name)
    for card, value in (header or {}).items():
        hdu.header[card] = value
    return hdu


def _columns_of(hdu):
    data = hdu.data
    native = {}
    for name in data.dtype.names:
        values = np.array(data[name])
        native[name] = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native


def _structured(hdu, dtype):
    out = np.zeros(len(hdu.data), dtype)
    for name in dtype.names:
        out[name] = hdu.data[name]
    return out


def write_template(path, template):
    """A Template as a native file with COVERAGE and NOISECORR."""
    extra = [
        fits.ImageHDU(template.coverage, name="COVERAGE"),
        fits.ImageHDU(template.noise_correlation, name="NOISECORR"),
    ]
    write_exposure(path, template.exposure, extra)


def read_template(path):
    """(Exposure, noise correlation) of a template file."""
    with open_product(path) as hdul:
        return read_native(hdul), np.array(hdul["NOISECORR"].data, float)


def write_difference(path, difference):
    """A raw difference with its kernel solution.

    KERNBASE holds the basis functions, KERNCOEF the coefficients of their Chebyshev terms,
    KERNBACK those of the background, KERNGRID kernel images on a 5 x 5 grid, KERNSTAR the stars.
    """
    from skydelta.kernel_fit import REJECT_REASONS
    from skydelta.psf import grid_nodes

    solution, spec = difference.solution, difference.spec
    kernel = solution.kernel
    ny, nx = kernel.shape
    coefficients = fits.ImageHDU(np.asarray(kernel.coefficients, float), name="KERNCOEF")
    for key, value, comment in (
        ("ORDER", kernel.order, "total degree, Chebyshev T_i(x) T_j(y)"),
        ("POLYNX", nx, "[pix] columns mapped edge to edge to +-1"),
        ("POLYNY", ny, "[pix] rows mapped edge to edge to +-1"),
    ):
        coefficients.header[key] = (value, comment)
    for k, (sigma, degree) in enumerate(zip(spec.sigmas, spec.degrees, strict=True)):
        coefficients.header[f"SIGMA{k}"] = (sigma, "[pix] width of this Gaussian")
        coefficients.header[f"DEGREE{k}"] = (degree, "degree of its polynomial")
    background = fits.ImageHDU(np.asarray(kernel.background, float), name="KERNBACK")
    background.header["ORDER"] = kernel.background_order
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, 5), grid_nodes(ny, 5)))
    grid = {"x": x, "y": y, "kernel": kernel.images(x, y)}
    stars = {
        **{name: difference.stars[name] for name in ("x", "y", "flux", "snr")},
        "used": solution.used,
        "reason": np.array([REJECT_REASONS[int(r)] for r in solution.reason], dtype="U12"),
        "flux_ratio": solution.flux_ratio,
        "residual": solution.residual,
    }
    extra = [
        fits.ImageHDU(np.asarray(kernel.basis, float), name="KERNBASE"),
        coefficients,
        background,
        table_hdu(grid, "KERNGRID", {"x": "pix", "y": "pix"}),
        table_hdu(stars, "KERNSTAR", {"x": "pix", "y": "pix", "flux": "count"}),
    ]
    write_exposure(path, difference.exposure, extra)


def read_difference(path):
    """(Exposure, SpatialKernel) of a subtraction file."""
    with open_product(path) as hdul:
        return read_native(hdul), read_kernel(hdul)


def read_image(path):
    """The Exposure of a product of the native format."""
    with open_product(path) as hdul:
        return read_native(hdul)


def read_difference_psf(path):
    """The science PSF that a subtraction file carries."""
    with open_product(path) as hdul:
        return read_psf(hdul)


def read_kernel(hdul):
    """The SpatialKernel of an open subtraction file."""
    from skydelta.kernel import SpatialKernel

    header = hdul["KERNCOEF"].header
    return SpatialKernel(
        basis=np.array(hdul["KERNBASE"].data, float),
        coefficients=np.array(hdul["KERNCOEF"].data, float),
        order=int(header["ORDER"]),
        background=np.array(hdul["KERNBACK"].data, float),
        background_order=int(hdul["KERNBACK"].header["ORDER"]),
        shape=(int(header["POLYNY"]), int(header["POLYNX"])),
    )


def _primary(provenance):
    """A primary HDU with the cards and HISTORY of (meta, notes)."""
    meta, notes = provenance
    primary = fits.PrimaryHDU()
    for key, value in meta.items():
        primary.header[key] = value
    add_notes(primary.header, notes)
    return primary


def write_detections(path, detections, provenance=({}, ())):
    """Detections: SOURCES and SPANS tables, rejections and noise figures in the header.

    Parameters
    ----------
    path
        Destination.
    detections
        skydelta.detect.Detections.
    provenance
        (header cards, HISTORY sentences).
    """
    primary = _primary(provenance)
    if np.isfinite(detections.score_rms):
        primary.header["SCORERMS"] = (detections.score_rms, "scatter of the score in blank sky")
    if np.isfinite(detections.flux_sigma):
        primary.header["FLUXSIG"] = (detections.flux_sigma, "[count] median PSF flux error")
    for reason, count in sorted(detections.rejected.items()):
        primary.header[f"HIERARCH REJECTED {reason.upper()}"] = count
    with replacing(path) as partial:
        fits.HDUList(
            [
                primary,
                table_hdu(detections.sources, "SOURCES", {"x": "pix", "y": "pix"}),
                table_hdu(detections.spans, "SPANS"),
            ]
        ).writeto(partial, overwrite=True)


def read_detections(path):
    """Detections as written by `write_detections`."""
    from skydelta.detect import SOURCE_DTYPE, SPAN_DTYPE, Detections

    with open_product(path) as hdul:
        header = hdul[0].header
        rejected = {
            key.split(" ", 1)[1].lower(): int(header[key])
            for key in header
            if key.startswith("REJECTED ")
        }
        return Detections(
            sources=_structured(hdul["SOURCES"], SOURCE_DTYPE),
            spans=_structured(hdul["SPANS"], SPAN_DTYPE),
            score_rms=float(header.get("SCORERMS", np.nan)),
            flux_sigma=float(header.get("FLUXSIG", np.inf)),
            rejected=rejected,
        )


def _instrumental_unit(name):
    if name.endswith(("instFlux", "instFluxErr")):
        return "count"
    if name.startswith("coord_"):
        return "rad"
    if "Centroid" in name and not name.endswith("flag"):
        return "pix"
    if name.startswith("base_SdssShape_") and not name.endswith("flag"):
        return "pix2"
    return None


def write_sources(path, columns, provenance=({}, ())):
    """Instrumental measurements as a FITS table, LSST stack names, units on every column."""
    primary = _primary(provenance)
    units = {name: _instrumental_unit(name) for name in columns}
    with replacing(path) as partial:
        fits.HDUList([primary, table_hdu(columns, "SOURCES", units)]).writeto(
            partial, overwrite=True
        )


def read_sources(path):
    """Instrumental measurements by column name."""
    with open_product(path) as hdul:
        return _columns_of(hdul["SOURCES"])


def write_catalogue(path, catalogue, provenance=({}, ())):
    """A DiaSource catalogue as Parquet; each column carries its unit and description.

    Parameters
    ----------
    path
        Destination.
    catalogue
        Array by column name, as from `skydelta.calibrate.calibrate`.
    provenance
        (header cards, sentences), kept in the file's own metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta, notes = provenance
    schema = catalogue_schema({k: v[0] for k, v in meta.items()} | {"history": "; ".join(notes)})
    with replacing(path) as partial:
        arrays = [pa.array(catalogue[field.name], type=field.type) for field in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), partial)


def catalogue_schema(meta=None):
    """The Arrow schema of the DiaSource catalogue."""
    import pyarrow as pa

    from skydelta.calibrate import COLUMNS

    types = {"i8": pa.int64(), "i4": pa.int32(), "i2": pa.int16(), "f8": pa.float64()}
    types |= {"f4": pa.float32(), "?": pa.bool_(), "U": pa.string()}
    fields = [
        pa.field(c.name, types[c.dtype], metadata={"unit": c.unit, "description": c.description})
        for c in COLUMNS
    ]
    return pa.schema(fields, metadata={k: str(v) for k, v in (meta or {}).items()})


def concatenate_catalogues(paths, path):
    """All catalogues as one Parquet file, in the given order, a row group each."""
    import pyarrow.parquet as pq

    with replacing(path) as partial, pq.ParquetWriter(partial, catalogue_schema()) as writer:
        for each in paths:
            table = pq.read_table(each)
            if table.num_rows:
                writer.write_table(table.cast(catalogue_schema()))


class open_product:
    """An open product of a former stage, or the failure it stands for.

    Raises
    ------
    SkydeltaError
        With the status and message of the failure, if the file is a failure marker.
    """

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        from skydelta.io.outcome import raise_failure

        self.hdul = fits.open(self.path, memmap=False)
        try:
            raise_failure(self.hdul[0].header)
        except SkydeltaError:
            self.hdul.close()
            raise
        return self.hdul

    def __exit__(self, *exc):
        self.hdul.close()
