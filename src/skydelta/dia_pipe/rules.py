"""Which keys of config/config.yaml an option of LSST's ImageDifferenceTask becomes.

Names are those of `skydelta.dia_pipe.translate`: subtract['al'].kernel['AL'].kernelSize is
kernel.kernelSize. skydelta.dia_pipe.reasons says of the other options why they have no key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from skydelta.dia_pipe.pex_config import ConfigError
from skydelta.dia_pipe.values import (
    choice,
    converted,
    flag,
    listed,
    number,
    radii,
    switch,
    whole,
)

_STACK_GAUSSIANS = {"alardNGauss": 3, "alardDegGauss": [4, 2, 2], "alardSigGauss": [0.7, 1.5, 3.0]}
_STACK_COMPONENTS = 5
_STACK_CELL = 128
_STACK_SKY_SOURCES = 100
"""Defaults of the stack that count as soon as a file sets an option beside them."""

_FWHM = 2.3548
"""Of a Gaussian, sigmas."""

_DIPOLE_FIT = "measurement.plugins.[ip_diffim_DipoleFit]"

_CATALOGUE = (
    "subtract.stars.catalogue must name the table of reference stars; with "
    "subtract.stars.source: exposure none is needed"
)
_FROM_TEMPLATE = "v20 ends with an error here if the template is a coadd"


@dataclass(frozen=True)
class One:
    """One option that becomes one key.

    Parameters
    ----------
    option, key
        Theirs and ours.
    convert
        From value to value, see skydelta.dia_pipe.values.
    remarks
        {our value: what is to be said of it}.
    """

    option: str
    key: str
    convert: Callable
    remarks: dict = field(default_factory=dict)

    @property
    def options(self):
        """The option, as a tuple."""
        return (self.option,)

    def apply(self, given, out):
        """Set the key."""
        setting = given[self.option]
        value = converted(setting, self.convert, out)
        if value is None:
            return
        out.put(self.key, value)
        if self.remarks:
            out.remark(setting, self.remarks[value])


@dataclass(frozen=True)
class Together:
    """Options that decide something together; `apply(given, out)` gets those that are set."""

    options: tuple
    apply: Callable


def _preconvolution(given, out):
    asked, gaussian = given.get("doPreConvolve"), given.get("useGaussianForPreConvolution")
    on = asked is not None and converted(asked, flag, out)
    shape = converted(gaussian, switch("gaussian", "psf"), out) if gaussian else "gaussian"
    if asked:
        out.put("subtract.preconvolve", shape if on else "none")
    if on and not gaussian:
        text = "useGaussianForPreConvolution is not set: True, its default in v20, is taken"
        out.remark(asked, text)
    if gaussian and not on:
        out.leave(gaussian, "not in use: doPreConvolve is not True")


def _basis_kind(given, out):
    kernel, basis = given.get("kernel"), given.get("kernel.kernelBasisSet")
    if kernel:
        kind = converted(kernel, choice({"AL": "gaussian", "DF": "delta"}), out)
        if kind is not None:
            out.put("subtract.basis.kind", kind)
        if kind == "delta":
            text = "what the file leaves unset has skydelta's defaults, not those of kernel['DF']"
            out.remark(kernel, text)
    if basis:
        kinds = {"alard-lupton": "gaussian", "delta-function": "delta"}
        kind = converted(basis, choice(kinds), out)
        if kind is not None:
            out.put("subtract.basis.kind", kind)


def _gaussians(given, out):
    """Number, degrees and widths of the Gaussians; set one, and the stack's others count."""
    scaled = given.get("kernel.scaleByFwhm")
    scale = converted(scaled, flag, out) if scaled else True
    if scaled:
        out.put("subtract.basis.scale_by_fwhm", scale)
    converters = (whole(1), listed(whole(0, 8)), listed(number(above=0)))
    settings = [given.get(f"kernel.{name}") for name in _STACK_GAUSSIANS]
    values = [
        converted(setting, convert, out) if setting else default
        for setting, convert, default in zip(
            settings, converters, _STACK_GAUSSIANS.values(), strict=True
        )
    ]
    given_settings = [setting for setting in settings if setting]
    if not given_settings:
        return
    if None in values:
        for setting, value in zip(settings, values, strict=True):
            if setting and value is not None:
                out.leave(setting, "number, degrees and widths of the Gaussians go together")
        return
    count, degrees, sigmas = values
    if not len(degrees) == len(sigmas) == count:
        _refuse_lengths(given_settings[0], settings, values)
    out.put("subtract.basis.scale_by_fwhm", scale)
    out.put("subtract.basis.sigmas", list(sigmas))
    out.put("subtract.basis.degrees", list(degrees))
    if settings[2] and scale:
        text = (
            "as long as scaleByFwhm is True the stack ignores these widths, unless the two seeings "
            "are equal, and takes others that follow from the seeings; skydelta does so with "
            "subtract.basis.scale_by_fwhm: true"
        )
        out.remark(settings[2], text)


def _refuse_lengths(first, settings, values):
    """The stack compares both lengths with alardNGauss before every fit."""
    count, degrees, sigmas = values
    numbers = (count, len(degrees), len(sigmas))
    told = [
        f"{name} {'is' if name == 'alardNGauss' else 'has length'} {value}"
        f"{'' if setting else ' (the default)'}"
        for name, value, setting in zip(_STACK_GAUSSIANS, numbers, settings, strict=True)
    ]
    msg = f"line {first.line}: {first.text}: the stack refuses this kernel: {', '.join(told)}"
    raise ConfigError(msg, line=first.line)


def _kernel_size(given, out):
    """The stack uses kernelSize for delta functions and for Gaussians that are not scaled."""
    size = given["kernel.kernelSize"]
    value = converted(size, whole(3), out)
    if value is None:
        return
    delta = out.get("subtract.basis.kind") == "delta"
    if not delta and out.get("subtract.basis.scale_by_fwhm", True):
        out.leave(size, "not in use: the size follows from the seeings while scaleByFwhm is True")
    elif value % 2 == 0:
        out.leave(size, "the size of a kernel must be odd")
    else:
        out.put("subtract.basis.size", value)


def _components(given, out):
    pca = given.get("kernel.usePcaForSpatialKernel")
    count = given.get("kernel.numPrincipalComponents")
    on = pca is not None and converted(pca, flag, out)
    number_kept = converted(count, whole(2), out) if count else _STACK_COMPONENTS
    if not on:
        if pca:
            out.put("subtract.basis.components", None)
        if count and number_kept is not None:
            out.leave(count, "not in use: usePcaForSpatialKernel is not True")
    elif number_kept is None:
        out.leave(pca, "there is no number of components")
    else:
        # ip_diffim puts the mean kernel first and cuts the list after numPrincipalComponents.
        out.put("subtract.basis.components", number_kept - 1)
        unset = "" if count else "numPrincipalComponents is not set: 5, its default, is taken; "
        text = "the stack counts the mean kernel among the components, skydelta does not: one less"
        out.remark(pca, unset + text)


def _background(given, out):
    fitted, order = given.get("kernel.fitForBackground"), given.get("kernel.spatialBgOrder")
    on = fitted is None or converted(fitted, flag, out)
    if not on:
        out.put("subtract.fit.background_order", None)
        if order:
            out.leave(order, "not in use: fitForBackground is False")
    elif order:
        value = converted(order, whole(0, 6), out)
        if value is not None:
            out.put("subtract.fit.background_order", value)
    else:
        out.remark(fitted, "a background of subtract.fit.background_order is fitted anyway")


def _cells(given, out):
    settings = [given.get("kernel.sizeCellX"), given.get("kernel.sizeCellY")]
    sizes = [converted(s, whole(1), out) if s else _STACK_CELL for s in settings]
    if None not in sizes and sizes[0] == sizes[1]:
        out.put("subtract.stars.cell_size", sizes[0])
        return
    for setting, size in zip(settings, sizes, strict=True):
        if setting and size is not None:
            other = sizes[0] if setting is settings[1] else sizes[1]
            text = f"cells are square here and the other side is {other}"
            out.leave(setting, f"{text}: choose subtract.stars.cell_size")


def _deblending(given, out):
    setting = given["doDeblend"]
    value = converted(setting, flag, out)
    out.put("measure.deblend", value)
    out.remark(
        setting,
        "stack v20 has no doDeblend and refuses it; here neighbours are fitted together, each with "
        "its own flux, instead of parted pixel by pixel",
    )


def _dipole_separation(given, out):
    (setting,) = given.values()
    value = converted(setting, number(), out)
    if value is not None:
        out.put("detect.dipole_separation", round(value / _FWHM, 4))
        text = (
            "in PSF sigmas there, in FWHM here, where it says which peaks of opposite sign are "
            "tried; what is then called a dipole has its lobes within 1.5 FWHM in any case"
        )
        out.remark(setting, text)


def _sky_sources(given, out):
    asked, count = given.get("doSkySources"), given.get("skySources.nSources")
    on = asked is not None and converted(asked, flag, out)
    least = converted(count, whole(0), out) if count else _STACK_SKY_SOURCES
    if not on:
        if asked:
            out.put("detect.sky_sources", 0)
        if count and least is not None:
            out.leave(count, "not in use: doSkySources is not True")
    elif least is None:
        out.leave(asked, "there is no number of sky sources")
    else:
        out.put("detect.sky_sources", least)
        text = "here the number is that on 4096 x 4096 px, on smaller images in proportion"
        out.remark(asked, text if count else f"100, the default of nSources, is taken; {text}")


def _streaks(given, out):
    setting = given["doMaskStreaks"]
    if converted(setting, flag, out):
        out.remark(setting, "trails are looked for unless detect.streak_sigma is null")
    else:
        out.put("detect.streak_sigma", None)


def _signal_to_noise(used, least, most):
    """Limits of the S/N of kernel stars, which a source selector applies only if told to."""

    def apply(given, out):
        on = used in given and converted(given[used], flag, out)
        if used in given and not on:
            out.leave(given[used], "kernel stars always have a least S/N, subtract.stars.min_snr")
        elif on and least not in given and most not in given:
            out.remark(given[used], "the limits are subtract.stars.min_snr and max_snr")
        for option, key in ((least, "min_snr"), (most, "max_snr")):
            setting = given.get(option)
            if setting and not on:
                out.leave(setting, f"not in use: {used} is not True")
            elif setting and setting.value in (None, 0):
                if key == "max_snr":
                    out.put("subtract.stars.max_snr", None)
                else:
                    out.leave(setting, "kernel stars always have a least S/N")
            elif setting:
                value = converted(setting, number(above=0), out)
                if value is not None:
                    out.put(f"subtract.stars.{key}", value)

    return Together((used, least, most), apply)


RULES = (
    One("subtract", "subtract.method", choice({"al": "alard_lupton", "zogy": "zogy"})),
    One("convolveTemplate", "subtract.convolve", switch("template", "science")),
    Together(("doPreConvolve", "useGaussianForPreConvolution"), _preconvolution),
    Together(("kernel", "kernel.kernelBasisSet"), _basis_kind),
    Together(tuple(f"kernel.{n}" for n in ("scaleByFwhm", *_STACK_GAUSSIANS)), _gaussians),
    Together(("kernel.kernelSize",), _kernel_size),
    Together(("kernel.usePcaForSpatialKernel", "kernel.numPrincipalComponents"), _components),
    One(
        "kernelSourcesFromRef",
        "subtract.stars.source",
        switch("catalogue", "template"),
        {"catalogue": _CATALOGUE, "template": _FROM_TEMPLATE},
    ),
    _signal_to_noise(
        "sourceSelector.doSignalToNoiseLimit",
        "sourceSelector.signalToNoiseMin",
        "sourceSelector.signalToNoiseMax",
    ),
    _signal_to_noise(
        "sourceSelector.doSignalToNoise",
        "sourceSelector.signalToNoise.minimum",
        "sourceSelector.signalToNoise.maximum",
    ),
    Together(("kernel.sizeCellX", "kernel.sizeCellY"), _cells),
    One("kernel.nStarPerCell", "subtract.stars.per_cell", whole(1)),
    One("kernel.spatialKernelOrder", "subtract.fit.order", whole(0, 6)),
    Together(("kernel.fitForBackground", "kernel.spatialBgOrder"), _background),
    One("kernel.maxSpatialIterations", "subtract.fit.max_iterations", whole(1)),
    One("zogyConfig.inImageSpace", "subtract.zogy.image_space", flag),
    One(
        "kernel.warpingConfig.warpingKernelName",
        "template.lanczos_order",
        choice({f"lanczos{order}": order for order in range(2, 7)}),
    ),
    One("requiredTemplateFraction", "template.min_coverage", number(most=1)),
    One("doDecorrelation", "decorrelate.enabled", flag),
    One("doSpatiallyVarying", "decorrelate.spatially_varying", flag),
    One("detection.thresholdValue", "detect.threshold", number(above=0)),
    One(
        "detection.thresholdPolarity",
        "detect.polarity",
        choice({name: name for name in ("both", "positive", "negative")}),
    ),
    One("detection.nSigmaToGrow", "detect.grow_sigma", number()),
    Together(("doMaskStreaks",), _streaks),
    Together(("doSkySources", "skySources.nSources"), _sky_sources),
    Together(("doDeblend",), _deblending),
    One("doDipoleFitting", "measure.dipoles", flag),
    Together((f"{_DIPOLE_FIT}.maxSeparation",), _dipole_separation),
    One("measurement.plugins.[base_CircularApertureFlux].radii", "measure.apertures", radii),
)

UNDERSTOOD = frozenset(option for rule in RULES for option in rule.options)
