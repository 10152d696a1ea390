"""Why an option of LSST's ImageDifferenceTask has no key in a skydelta configuration."""

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

ZOGY_IGNORES = {
    "convolveTemplate": "not in use: ZOGY convolves both images",
    "doDecorrelation": "not in use: the stack decorrelates only Alard-Lupton's difference",
    "kernelSourcesFromRef": "not in use: ZOGY needs no stars for a kernel",
    "doSelectSources": "not in use: ZOGY needs no stars for a kernel",
    "doPreConvolve": "in the stack this gives ZOGY's score image; sources are always found on one",
    "useGaussianForPreConvolution": "not in use: ZOGY is not pre-convolved",
    "doSpatiallyVarying": "no key for ZOGY: decorrelate.spatially_varying is Alard-Lupton's",
}
"""Options that count only for, or mean something else than, subtract = 'al'."""


@dataclass(frozen=True)
class Reason:
    """Why an option is not among the keys; `same` if skydelta does what it asks for anyway."""

    text: str
    same: bool = False


def _always(text, when=True):
    """A switch without a key: what it asks for with the value `when` is what is always done."""
    return lambda value: Reason(text, same=value is when)


def _same(text, *values):
    """An option without a key that asks for the usual with one of the values."""
    return lambda value: Reason(text, same=value in values)


_COADDS = (
    "the template is made of all images under the exposure that coadds.csv lists, of any tract"
)
_NO_CONTROL = "no control sample is held back: stars left out in turn test the fit"
_NO_REGISTER = "the template is put on the exposure's grid by the two WCS; they are not refitted"
_DIPOLE = (
    "what is called a dipole follows from measure.dipole_preference, detect.dipole_separation and "
    "fixed limits on the lobes"
)
_SKY = "sky sources keep off everything detected or unusable, with no key"
_STREAKS = "trails are found by detect.streak_sigma, with no other key"
_COSMIC_RAYS = "cosmic rays are found by detect.cosmic_ray_sigma, with no other key"
_GLINTS = "no glint trails are looked for"
_RATIO = "a failed subtraction is told by detect.max_fraction and max_sources"
_REFERENCE = "no reference catalogue is loaded; subtract.stars.catalogue can name a table"
_BETA = "each Gaussian is twice as wide as the one before, with no key"
_SIZE = "the size is 6 times the widest Gaussian within 21 to 51 px, or subtract.basis.size"
_CONDITION = "the fit is tamed by subtract.fit.ridge, not by its condition number"
_CLIPPING = "stars are rejected by subtract.fit.flux_ratio_clip and residual_clip"
_REGULARISATION = "on another scale than subtract.basis.regularisation: choose that by hand"

_REASONS = (
    ("ccdKey", _same("the tables always call it `detector`", "detector")),
    ("ignoreCcdList", _same("leave the rows of these detectors out of exposures.csv", [])),
    ("makeDiffim.*", "dia_pipe's configuration has no makeDiffim, and the stack refuses it"),
    ("refObjLoader.*", _REFERENCE),
    ("astrometer.*", _REFERENCE),
    ("*.load()", "the other file is not read: import it by itself"),
    ("load()", "the other file is not read: import it by itself"),
    ("getTemplate.retarget()", lambda value: Reason(_COADDS, same=True)),
    ("*.retarget()", "tasks are not exchanged here"),
    ("retarget()", "tasks are not exchanged here"),
    ("getTemplate.*", _COADDS),
    ("coaddName", _COADDS),
    ("connections.*", "names of the butler's datasets: here the two tables name the files"),
    ("doSubtract", _always("the difference is always made")),
    ("doDetection", _always("sources are always detected")),
    ("doMeasurement", _always("sources are always measured")),
    ("doMerge", _always("footprints of both signs are always merged")),
    ("growFootprint", "footprints are grown by detect.grow_sigma before they are merged"),
    ("deblend.*", "neighbours are fitted together, measure.deblend, with no other key"),
    ("maskStreaks.*", _STREAKS),
    ("streakDetection.*", _STREAKS),
    ("streakBinFactor", _same(_STREAKS, 4)),
    ("writeStreakInfo", _always("the STREAK plane is written, no table of trails", when=False)),
    ("*CosmicRay*", _COSMIC_RAYS),
    ("*cosmicray*", _COSMIC_RAYS),
    ("findGlints.*", _GLINTS),
    ("writeGlintInfo", _always(_GLINTS, when=False)),
    ("badSourceFlags", "flagged sources stay in the catalogue with their flags"),
    ("clearMaskPlanes", "planes of detection are made anew"),
    ("raiseOnNoDiaSources", _always("no detection gives an empty catalogue", when=False)),
    ("raiseOnBadSubtractionRatio", _RATIO),
    ("badSubtraction*", _RATIO),
    ("doSubtractBackground", _always("subtract.background_cell takes the background off")),
    ("subtract*Background.*", "subtract.background_cell takes the background off the difference"),
    ("doForcedMeasurement", _always("PSF fluxes are always forced on exposure and template")),
    ("doSelectSources", _always("stars of the fit are always selected, by subtract.stars")),
    ("doWriteSubtractedExp", _always("diffexp_ID.fits is always written")),
    (
        "doWriteMatchedExp",
        "template_ID.fits holds the template on the exposure's grid, not convolved, and "
        "subtracted_ID.fits the kernel",
    ),
    ("doWriteWarpedExp", _always("template_ID.fits is always written")),
    ("doWriteSources", _always("diaSrc_ID.parquet is always written")),
    ("doWriteScoreExp", _always("the score image is not written", when=False)),
    ("doMatchSources", _always("sources are not matched to other tables", when=False)),
    ("diaSourceMatchRadius", "sources are not matched to other tables"),
    ("doAddMetrics", _always("the numbers of the fit are in headers and report", when=False)),
    ("doAddCalexpBackground", _always("exposures are used as they are", when=False)),
    ("doUseRegister", _always(_NO_REGISTER, when=False)),
    ("doDebugRegister", _always(_NO_REGISTER, when=False)),
    ("register.*", _NO_REGISTER),
    ("templateSipOrder", _NO_REGISTER),
    ("doSelectDcrCatalog", _always(_NO_CONTROL, when=False)),
    ("doSelectVariableCatalog", _always(_NO_CONTROL, when=False)),
    ("controlStepSize", _NO_CONTROL),
    ("controlRandomSeed", _NO_CONTROL),
    ("doScaleTemplateVariance", _always("variance planes are not rescaled", when=False)),
    ("doScaleDiffimVariance", _always("variance planes are not rescaled", when=False)),
    ("scaleVariance.*", "variance planes are not rescaled"),
    ("doApCorr", _always("fluxes get no aperture correction", when=False)),
    ("applyApCorr.*", "fluxes get no aperture correction"),
    ("skySources.*", _SKY),
    ("useScoreImageDetection", _always("sources are always detected on the score image")),
    ("saveMetadata", _always("headers hold the options of their stage")),
    ("saveLogOutput", _always("logs/ always has the log of every job")),
    ("sourceSelector.*", "kernel stars are selected by subtract.stars"),
    ("decorrelate.*", "the tiles of the decorrelation have no keys"),
    ("detection.thresholdType", _same("the threshold is in sigma of the score", "pixel_stdev")),
    ("detection.minPixels", _same("a peak of the score is enough for a source", 1)),
    ("detection.reEstimateBackground", _always("no background is taken off here", when=False)),
    ("detection.*ackground*", "subtract.background_cell takes the background off the difference"),
    ("detection.*", "no key among those of detect"),
    ("measurement.*Dipole*", _DIPOLE),
    ("measurement.*", "what is measured is fixed; the radii are measure.apertures"),
    ("forcedMeasurement.*", "what is measured is fixed; PSF fluxes are always forced"),
    ("selectDetection.*", "kernel stars are selected by subtract.stars"),
    ("selectMeasurement.*", "kernel stars are selected by subtract.stars"),
    (
        "kernel.spatialModelType",
        _same("kernel and background are Chebyshev polynomials of the same degree", "chebyshev1"),
    ),
    ("kernel.useAfwBackground", _always("the background is fitted with the kernel", when=False)),
    ("kernel.afwBackgroundConfig.*", "the background is fitted with the kernel"),
    ("kernel.kernelSize*", _SIZE),
    ("kernel.alard*Deconv", "the same basis serves when the template has the wider PSF"),
    ("kernel.alardGaussBeta", _same(_BETA, 2)),
    ("kernel.alardMinSig", _same("the narrowest Gaussian is 0.7 px, with no key", 0.7)),
    ("kernel.subtractMeanForPca", "no key beside subtract.basis.components"),
    ("kernel.*Clipping", _always(_CLIPPING)),
    ("kernel.maxKsumSigma", f"{_CLIPPING}, of other statistics"),
    ("kernel.candidate*", f"{_CLIPPING}, of other statistics"),
    ("kernel.useCoreStats", _always(_CLIPPING, when=False)),
    ("kernel.*ondition*", _CONDITION),
    ("kernel.badMaskPlanes", "pixels that cannot be used are left out of the fit"),
    ("kernel.detectionConfig.*", "kernel stars are selected by subtract.stars"),
    (
        "kernel.constantVarianceWeighting",
        "the weights follow from the noise and subtract.fit.model_error",
    ),
    ("kernel.iterateSingleKernel", "no key among those of subtract.fit"),
    ("kernel.calculateKernelUncertainty", "the error of the kernel sum is always computed"),
    ("kernel.useBicForKernelBasis", _always("all basis functions are used", when=False)),
    ("kernel.useRegularization", _REGULARISATION),
    ("kernel.regularization*", _REGULARISATION),
    ("kernel.*Regularization*", _REGULARISATION),
    ("kernel.lambda*", _REGULARISATION),
    ("kernel.warpingConfig.*", "no key beside template.lanczos_order"),
    ("zogyConfig.*", "no key among those of subtract.zogy"),
)


def reason_for(option, value, understood):
    """Why an option has no key.

    Parameters
    ----------
    option
        Its name, without the branches of registries.
    value
        What it is set to.
    understood
        Names of the options that have keys, for a hint at a misspelling.

    Returns
    -------
    Reason
    """
    for pattern, reason in _REASONS:
        if fnmatchcase(option, pattern):
            return Reason(reason) if isinstance(reason, str) else reason(value)
    close = get_close_matches(option, understood, n=1, cutoff=0.8)
    return Reason("unknown option" + (f": did you mean {close[0]}?" if close else ""))
