"""Files as lsst-images lays them out (its fits/_output_archive.py), their tree given."""

import json

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SHAPE = (60, 50)
X0, Y0 = 1000, 2000
PLANES = ("BAD", "SATURATED", "COSMIC_RAY", "NO_DATA", "DETECTION_EDGE", "INTERPOLATED", "ITL_DIP")
GAUSSIAN = {
    "schema_url": "https://images.lsst.io/schemas/gaussian_psf-1.0.0",
    "sigma": 2.0,
    "stamp_size": 21,
    "bounds": {"y": {"start": Y0, "stop": Y0 + 60}, "x": {"start": X0, "stop": X0 + 50}},
}
OBSERVATION = {
    "instrument": "LSSTCam",
    "visit_id": 2025052300201,
    "detector_num": 118,
    "physical_filter": "i_39",
    "datetime_begin": [2460820.0, -0.25],
    "datetime_end": [2460820.0, -0.2496527777777778],
    "exposure_time": 30.0,
}


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 55.0, -31.0
    wcs.wcs.crpix = 20.0, 30.0
    wcs.wcs.cd = [[-5.5e-5, 0.0], [0.0, 5.5e-5]]
    return wcs


def pixels(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(10.0, 3.0, SHAPE).astype(np.float32)


def tree(psf=GAUSSIAN, **members):
    members = {"psf": psf, "band": "i", "obs_info": OBSERVATION} | members
    content = {"min_read_version": 1, "schema_version": "1.1.0", **members}
    return {key: value for key, value in content.items() if value is not None}


def mask_hdus(planes):
    """One HDU per 31 planes; pixel (n, n) belongs to plane n."""
    hdus = []
    for part in range(0, len(planes), 31):
        data = np.zeros(SHAPE, np.int32)
        names = planes[part : part + 31]
        for bit in range(len(names)):
            data[part + bit, part + bit] |= 1 << bit
        hdu = fits.CompImageHDU(data, name="MASK", compression_type="GZIP_2")
        for bit, name in enumerate(names):
            hdu.header[f"MSKN{bit:04d}"] = name
            hdu.header[f"MSKM{bit:04d}"] = 1 << bit
            hdu.header[f"MSKD{bit:04d}"] = f"says {name}"
        if part:
            hdu.header["EXTVER"] = part // 31 + 1
        hdus.append(hdu)
    return hdus


def image_hdu(name, data, unit="nJy", wcs=True):
    options = {"name": name, "compression_type": "GZIP_2", "quantize_level": 0.0}
    hdu = fits.CompImageHDU(data, **options)
    if unit:
        hdu.header["BUNIT"] = unit
    if wcs:
        hdu.header.update(sky().to_header())
    for i, start in ((1, X0), (2, Y0)):
        hdu.header[f"CTYPE{i}A"], hdu.header[f"CUNIT{i}A"] = "LINEAR", "PIXEL"
        hdu.header[f"CRPIX{i}A"], hdu.header[f"CRVAL{i}A"] = 1.0, float(start)
    return hdu


def write(
    path,
    content,
    *,
    schema="visit_image-1.1.0",
    planes=PLANES,
    unit="nJy",
    wcs=True,
    arrays=(),
    cards=(),
):
    """A file of SHAPE; `content` is its tree, or the bytes in its place."""
    primary = fits.PrimaryHDU()
    if schema:
        primary.header["FMTVER"] = 1
        primary.header["DATAMODL"] = f"https://images.lsst.io/schemas/{schema}"
    primary.header.update(cards)
    variance = np.full(SHAPE, 9.0, np.float32)
    hdus = [primary, image_hdu("IMAGE", pixels(), unit, wcs), *mask_hdus(planes)]
    hdus += [image_hdu("VARIANCE", variance, unit and f"{unit}2", wcs), *arrays]
    if content is not None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        rows = np.array([np.frombuffer(text, np.uint8), np.zeros(3, np.uint8)], object)
        column = fits.Column("JSON", "PB", array=rows)
        hdus.append(fits.BinTableHDU.from_columns([column], name="JSON"))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
