import pytest
from pex_texts import AL, DF, TASK, notes, reasons, value

from skydelta.dia_pipe import ConfigError, translate
from skydelta.dia_pipe.reasons import ZOGY_IGNORES


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        (f"{TASK}.subtract = 'al'", "subtract.method", "alard_lupton"),
        (f"{TASK}.subtract.name = 'zogy'", "subtract.method", "zogy"),
        (f"{TASK}.subtract.active = 'zogy'", "subtract.method", "zogy"),
        (f"{TASK}.subtract['al'].kernel = 'DF'", "subtract.basis.kind", "delta"),
        (f"{TASK}.subtract['al'].kernel.name = 'AL'", "subtract.basis.kind", "gaussian"),
        (f"{TASK}.subtract['al'].kernel.active = 'DF'", "subtract.basis.kind", "delta"),
        (f"{TASK}.subtract.active.kernel.name = 'DF'", "subtract.basis.kind", "delta"),
        (f"{AL}.kernelBasisSet = 'delta-function'", "subtract.basis.kind", "delta"),
        (f"{AL}.spatialKernelOrder = 0", "subtract.fit.order", 0),
        (f"{TASK}.subtract.active.kernel.active.spatialKernelOrder=3", "subtract.fit.order", 3),
        (f"{AL}.spatialBgOrder = 1", "subtract.fit.background_order", 1),
        (f"{AL}.fitForBackground = False", "subtract.fit.background_order", None),
        (f"{AL}.maxSpatialIterations = 4", "subtract.fit.max_iterations", 4),
        (f"{AL}.scaleByFwhm = False", "subtract.basis.scale_by_fwhm", False),
        (f"{AL}.alardDegGauss = (3, 2, 1)", "subtract.basis.degrees", [3, 2, 1]),
        (f"{AL}.alardDegGauss = (3, 2, 1)", "subtract.basis.sigmas", [0.7, 1.5, 3.0]),
        (f"{AL}.alardSigGauss = [1, 2, 4]", "subtract.basis.degrees", [4, 2, 2]),
        (f"{AL}.alardNGauss = 3", "subtract.basis.scale_by_fwhm", True),
        (f"{AL}.scaleByFwhm = False; {AL}.kernelSize = 25", "subtract.basis.size", 25),
        (f"{AL}.kernelSize = 25", "subtract.basis.size", "unset"),
        (f"{AL}.usePcaForSpatialKernel = True", "subtract.basis.components", 4),
        (f"{AL}.nStarPerCell = 4", "subtract.stars.per_cell", 4),
        (f"{AL}.sizeCellX = {AL}.sizeCellY = 200", "subtract.stars.cell_size", 200),
        (f"{AL}.sizeCellX = 200; {AL}.sizeCellY = 200", "subtract.stars.cell_size", 200),
        (f"{AL}.sizeCellX = 128", "subtract.stars.cell_size", 128),
        (f"{AL}.sizeCellX = 200", "subtract.stars.cell_size", "unset"),
        (f"{AL}.warpingConfig.warpingKernelName='lanczos5'", "template.lanczos_order", 5),
        (f"{AL}.warpingConfig.warpingKernelName='bilinear'", "template.lanczos_order", "unset"),
        (f"{TASK}.doPreConvolve = True", "subtract.preconvolve", "gaussian"),
        (f"{TASK}.convolveTemplate = False", "subtract.convolve", "science"),
        (f"{TASK}.kernelSourcesFromRef = False", "subtract.stars.source", "template"),
        (f"{TASK}.doDecorrelation = True", "decorrelate.enabled", True),
        (f"{TASK}.doSpatiallyVarying = True", "decorrelate.spatially_varying", True),
        (f"{TASK}.detection.thresholdValue = 6", "detect.threshold", 6.0),
        (f"{TASK}.detection.thresholdPolarity = 'negative'", "detect.polarity", "negative"),
        (f"{TASK}.detection.nSigmaToGrow = 0", "detect.grow_sigma", 0.0),
        (f"{TASK}.doDeblend = True", "measure.deblend", True),
        (f"{TASK}.doDeblend = False", "measure.deblend", False),
        (f"{TASK}.doDipoleFitting = True", "measure.dipoles", True),
        (f"{TASK}.doDipoleFitting = False", "measure.dipoles", False),
        (
            f"{TASK}.measurement.plugins['ip_diffim_DipoleFit'].maxSeparation = 4.7096",
            "detect.dipole_separation",
            2.0,
        ),
        (f"{TASK}.doSkySources = False", "detect.sky_sources", 0),
        (f"{TASK}.doSkySources = True", "detect.sky_sources", 100),
        (f"{TASK}.skySources.nSources = 30", "detect.sky_sources", "unset"),
        (f"{TASK}.doSkySources = True; {TASK}.skySources.nSources = 30", "detect.sky_sources", 30),
        ("config.doMaskStreaks = False", "detect.streak_sigma", None),
        ("config.doMaskStreaks = True", "detect.streak_sigma", "unset"),
        (f"{TASK}.requiredTemplateFraction = 0.2", "template.min_coverage", 0.2),
        ("config.detection.thresholdValue = 5.0", "detect.threshold", 5.0),
        ("root.imageDifference.detection.thresholdValue = 5.0", "detect.threshold", 5.0),
        (
            f"{TASK}.measurement.plugins['base_CircularApertureFlux'].radii = [3, 12]",
            "measure.apertures",
            [3.0, 12.0],
        ),
        (
            f"{TASK}.measurement.plugins['base_CircularApertureFlux'].radii = [3]",
            "measure.apertures",
            "unset",
        ),
    ],
)
def test_options(line, key, expected):
    assert value(line, key) == expected


def test_preconvolution_with_the_fitted_psf():
    text = f"{TASK}.doPreConvolve = True\n{TASK}.useGaussianForPreConvolution = False\n"
    assert value(text, "subtract.preconvolve") == "psf"
    assert "its default in v20" in notes(f"{TASK}.doPreConvolve = True")[1]


def test_principal_components():
    """ip_diffim counts the mean kernel among them, subtract.basis.components does not."""
    number = f"{AL}.numPrincipalComponents = 7\n"
    used = number + f"{AL}.usePcaForSpatialKernel = True"
    assert value(used, "subtract.basis.components") == 6
    assert "one less" in notes(used)[2]
    assert "not in use" in reasons(number)[1]
    assert value(number, "subtract.basis.components") == "unset"
    none = translate(f"{AL}.numPrincipalComponents = 0\n{AL}.usePcaForSpatialKernel = True")
    assert [remark.line for remark in none.left_out] == [1, 2]


def test_widths_count_only_if_they_are_not_scaled():
    """scaleByFwhm is True in the stack unless the file says otherwise."""
    widths = f"{AL}.alardSigGauss = [1.0, 2.0, 3.0]\n"
    assert value(widths, "subtract.basis.scale_by_fwhm") is True
    assert "ignores these widths" in notes(widths)[1]
    fixed = widths + f"{AL}.scaleByFwhm = False\n"
    assert value(fixed, "subtract.basis.scale_by_fwhm") is False
    assert value(fixed, "subtract.basis.sigmas") == [1.0, 2.0, 3.0]
    assert not notes(fixed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{AL}.alardNGauss = 4", "alardDegGauss has length 3 (the default)"),
        (f"{AL}.alardNGauss = 2\n{AL}.alardDegGauss = [4, 2, 2]", "alardNGauss is 2"),
        (f"\n{AL}.alardSigGauss = [1.0]", "line 2: .*alardSigGauss has length 1"),
        (f"{AL}.alardDegGauss = [1, 1]", "alardNGauss is 3 (the default)"),
    ],
)
def test_kernel_that_the_stack_refuses(text, message):
    with pytest.raises(
        ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")
    ) as caught:
        translate(text)
    assert "the stack refuses this kernel" in str(caught.value)
    assert caught.value.status == "bad_config"


def test_delta_functions():
    text = (
        f"{TASK}.subtract['al'].kernel.name = 'DF'\n{DF}.kernelSize = 19\n{DF}.lambdaValue = 0.2\n"
    )
    assert value(text, "subtract.basis.size") == 19
    assert "regularisation" in reasons(text)[3]
    assert "skydelta's defaults" in notes(text)[1]


def test_options_of_what_is_not_chosen_are_not_applied():
    """A file that the stack wrote itself sets the options of every algorithm."""
    text = (
        f"{DF}.spatialKernelOrder = 2\n"
        f"{AL}.spatialKernelOrder = 1\n"
        f"{DF}.kernelBasisSet = 'delta-function'\n"
        f"{TASK}.subtract['zogy'].zogyConfig.inImageSpace = True\n"
        f"{TASK}.subtract['zogy'].kernel['AL'].spatialKernelOrder = 5\n"
        f"{TASK}.subtract['zogy'].kernel.name = 'DF'\n"
    )
    out = translate(text)
    assert out.values == {"subtract": {"fit": {"order": 1}}}
    assert {
        line: "not in use" in reason for line, reason in reasons(text).items()
    } == dict.fromkeys((1, 3, 4, 5, 6), True)
    # The choice counts wherever it stands.
    assert value(f"{text}{TASK}.subtract['al'].kernel = 'DF'", "subtract.fit.order") == 2
    assert reasons(f"{AL}.spatialKernelOrder = 1\n{TASK}.subtract = 'zogy'")[1].endswith("'zogy'")


@pytest.mark.parametrize("option", sorted(ZOGY_IGNORES))
def test_options_that_zogy_does_not_use(option):
    text = f"{TASK}.subtract = 'zogy'\n{TASK}.{option} = True\n"
    assert translate(text).values == {"subtract": {"method": "zogy"}}
    assert 2 in reasons(text)


def test_later_assignments_win():
    text = (
        f"{AL}.spatialKernelOrder = 4\n{TASK}.subtract.active.kernel['AL'].spatialKernelOrder=2\n"
    )
    assert value(text, "subtract.fit.order") == 2
    assert not translate(text).left_out
    twice = f"{TASK}.subtract = 'zogy'\n{TASK}.subtract.name = 'al'\n"
    assert value(twice, "subtract.method") == "alard_lupton"


def test_active_is_what_is_chosen_at_that_line():
    text = (
        f"{TASK}.subtract.active.kernel.active.spatialKernelOrder = 3\n"
        f"{TASK}.subtract['al'].kernel.name = 'DF'\n"
    )
    assert value(text, "subtract.fit.order") == "unset"
    assert "kernel is 'DF'" in reasons(text)[1]


def test_signal_to_noise_of_a_selector():
    at = f"{TASK}.sourceSelector"
    text = (
        f"{at}.doSignalToNoiseLimit = True\n{at}.signalToNoiseMin = 30\n{at}.signalToNoiseMax=0.0"
    )
    assert translate(text).values == {"subtract": {"stars": {"min_snr": 30.0, "max_snr": None}}}
    text = (
        f"{at}.doSignalToNoise = True\n{at}.signalToNoise.minimum = None\n"
        f"{at}.signalToNoise.maximum = 500\n"
    )
    assert translate(text).values == {"subtract": {"stars": {"max_snr": 500.0}}}
    assert list(reasons(text)) == [2]
