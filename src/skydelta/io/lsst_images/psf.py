"""The PSF of an lsst-images file from its tree.

Positions in the tree are those of the parent image, whose pixel (x0, y0) is the first of the file.
"""

import re

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.io.lsst_images.psf_models import CellPsf, GaussianPsf, PixelGridPsf
from skydelta.psf import resize_stamps

_WIDEST = 1001
_HIGHEST = 20

_ADVICE = "give the PSF's file in the table's psf column, or leave the model's kind to the stack"


def psf_from_tree(node, xy0):
    """A Psf of the file's own pixels.

    Parameters
    ----------
    node
        The tree's member psf.
    xy0
        Parent coordinates of the image's first pixel.

    Raises
    ------
    BadPsfError
        If this kind cannot be evaluated here, with the reason, or the model is a bad one.
    """
    kind = str(node["schema_url"].value).rsplit("/", 1)[-1].partition("-")[0]
    readers = {
        "gaussian_psf": _gaussian,
        "cell_psf": _cells,
        "psfex_psf": _psfex,
        "piff_psf": _piff,
    }
    if kind not in readers:
        raise _cannot(f"of the kind {kind!r}")
    return readers[kind](node, xy0)


def _cannot(what):
    known = "a Gaussian, PSFs by cell, a PSFEx model or Piff's PixelGrid with BasisPolynomial"
    msg = f"the file's PSF is {what}, which skydelta cannot evaluate (it can {known}): {_ADVICE}"
    return BadPsfError(msg)


def _gaussian(node, xy0):
    return GaussianPsf(node.number("sigma"), _width(node))


def _width(node):
    """Of the stamps, px."""
    width = node.integer("stamp_size")
    if not 1 <= width <= _WIDEST:
        msg = f"the PSF's stamps are {width} px wide: 1 to {_WIDEST} can be"
        raise BadPsfError(msg)
    return width


def _cells(node, xy0):
    bounds = node["bounds"]
    grid = bounds["grid"]
    width, height = (grid["cell_shape"].integer(k) for k in "xy")
    # The stamps begin with the cell of the first pixel of the bounds.
    if min(width, height) < 1:
        raise grid["cell_shape"].wrong("a size")
    first = []
    for axis, length in (("x", width), ("y", height)):
        start = grid["bbox"][axis].integer("start")
        at = bounds["bbox"][axis].integer("start")
        first.append(start + (at - start) // length * length)
    data = np.array(node["array"].array(), float)
    origin = (first[0] - xy0[0], first[1] - xy0[1])
    return CellPsf(data, origin, (width, height))


def _psfex(node, xy0):
    """PSFEx's polynomial; its context holds offset and scale of x, then of y."""
    from skydelta.lsst.offset_psf import OffsetPsf
    from skydelta.lsst.psfex_psf import PsfexPsf

    degrees = node["degree"].numbers()
    context = node["context"].array()
    if len(degrees) != 1 or np.shape(context) != (2, 2):
        raise _cannot(f"a PSFEx model of {len(degrees)} groups and context {np.shape(context)}")
    zero, scale = context[:, 0], context[:, 1]
    for axis, c, s in zip("xy", zero, scale, strict=True):
        box = node["bounds"][axis]
        ends = np.array([box.number("start"), box.number("stop")])
        if not (s > 0 and np.all(np.abs(ends - c) <= 2 * s)):
            msg = f"the PSFEx model's scaling of {axis}, ({axis} - {c:g}) / {s:g}, misses the image"
            raise BadPsfError(msg)
    components = np.array(node["parameters"].array(), np.float32)
    step = node.number("pixel_step")
    if not (components.ndim == 3 and 0 < step * max(components.shape) <= _WIDEST):
        msg = f"the PSFEx model is an array of {components.shape} with pixels of {step:g} px"
        raise BadPsfError(msg)
    context = tuple((float(c), float(s)) for c, s in zip(zero, scale, strict=True))
    psf = PsfexPsf(components, (int(degrees[0]),), context=context, pixstep=step)
    return psf if tuple(xy0) == (0, 0) else OffsetPsf(psf, *xy0)


def _piff(node, xy0):
    structs = node["piff"]["structs"]["piff"]
    if structs["type"].value != "Simple":
        raise _cannot(f"a Piff model of type {structs['type'].value!r}")
    parts = node["piff"]["objects"]["piff"]
    model, interp = parts["structs"]["model"], parts["structs"]["interp"]
    kinds = (model["type"].value, interp["type"].value)
    if kinds != ("PixelGrid", "BasisPolynomial"):
        raise _cannot(f"a Piff model {kinds[0]} interpolated by {kinds[1]}")
    wcs = parts["wcs"]["wcs"]
    if wcs["wcs_type"].value != "pixel_scale":
        raise _cannot(f"a Piff model with a WCS of its own ({wcs['wcs_type'].value})")
    scale, size = model.number("scale"), model.integer("size")
    if not np.isclose(scale, wcs.number("scale"), rtol=1e-6):
        ratio = scale / wcs.number("scale")
        raise _cannot(f"a Piff model with grid points of {ratio:.3f} px")
    powers = _powers(interp)
    solution = _solution(parts["objects"]["interp"]["tables"]["solution"]["table"])
    if solution.size != size**2 * len(powers):
        msg = f"the Piff solution has {solution.size} numbers for {size}^2 x {len(powers)} terms"
        raise BadPsfError(msg)
    grid = np.ascontiguousarray(solution.reshape(size**2, -1).T).reshape(-1, size, size)
    # u and v are x and y times the pixel scale.
    unit = 1.0 if interp["keys"].value == ["x", "y"] else wcs.number("scale")
    width = _width(node)
    return PixelGridPsf(
        resize_stamps(grid, width + (width + 1) % 2), powers, tuple(xy0), unit, _lanczos(model)
    )


def _lanczos(model):
    """Half width of the kernel, from its name as GalSim writes it."""
    name = str(model["interp"].value)
    match = re.match(r"(galsim\.)?Lanczos\((\d+)", name)
    if match is None:
        raise _cannot(f"a Piff model interpolated by {name}")
    return int(match[2])


def _powers(interp):
    """(n_terms, 2) powers of the keys, in the order of Piff's coefficients."""
    keys = [key.value for key in interp["keys"].items()]
    if keys not in (["x", "y"], ["u", "v"]):
        raise _cannot(f"a Piff model that varies with {', '.join(map(str, keys))}")
    order = interp["order"]
    orders = order.numbers() if isinstance(order.value, list) else [interp.number("order")] * 2
    limit = interp.get("max_order")
    if limit is not None and isinstance(limit.value, dict):
        raise _cannot(f"a Piff model with max_order {limit.value!r}")
    if len(orders) != 2 or not all(0 <= each <= _HIGHEST for each in orders):
        raise order.wrong(f"one or two orders from 0 to {_HIGHEST}")
    limit = max(orders) if limit is None else interp.number("max_order")
    orders = [int(each) for each in orders]
    i, j = (k.ravel() for k in np.mgrid[: orders[0] + 1, : orders[1] + 1])
    chosen = i + j <= limit
    return np.column_stack([i[chosen], j[chosen]])


def _solution(table):
    for column in table["columns"].items():
        if column["name"].value == "q":
            return np.array(column["data"].array(), float)
    msg = "the Piff model has no solution (column q)"
    raise BadPsfError(msg)
