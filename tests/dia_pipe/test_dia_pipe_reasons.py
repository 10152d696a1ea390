import pytest
from pex_texts import AL, TASK, reasons, value

from skydelta.dia_pipe import translate


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{TASK}.doNothing = True", "unknown option"),
        (f"{AL}.spatialKernelOrdr = 2", "did you mean kernel.spatialKernelOrder?"),
        ("config.makeDiffim.doDecorrelation = True", "has no makeDiffim"),
        (f"{TASK}.subtract = 'mine'", "skydelta knows al, zogy"),
        (f"{TASK}.subtract['al'].kernel = 'XY'", "skydelta knows AL, DF"),
        (f"{TASK}.doMeasurement = False", "always measured"),
        (f"{TASK}.doWriteSources = False", "always written"),
        (f"{TASK}.doWriteMatchedExp = True", "template_ID.fits"),
        (f"{TASK}.doMerge = False", "always merged"),
        (f"{TASK}.doSelectSources = False", "always selected"),
        (f"{TASK}.skySources.nSources = 5", "doSkySources is not True"),
        (f"{TASK}.skySources.sourceRadius = 5.0", "sky sources keep off"),
        ("config.maskStreaks.nSigmaMask = 2", "streak_sigma"),
        ("config.findCosmicRays.cosmicray.nCrPixelMax = 9", "cosmic_ray_sigma"),
        ("config.deblend.maxFootprintArea = 9", "measure.deblend"),
        (f"{AL}.spatialModelType = 'polynomial'", "Chebyshev"),
        (f"{AL}.spatialKernelOrder = 7", "skydelta takes 0 to 6"),
        (f"{AL}.alardDegGauss = [9, 2, 2]", "skydelta takes 0 to 8"),
        (f"{AL}.alardDegGauss = []", "at least one"),
        (f"{AL}.nStarPerCell = 0", "skydelta takes 1 to"),
        (f"{AL}.scaleByFwhm = False; {AL}.kernelSize = 22", "odd"),
        (f"{TASK}.detection.thresholdValue = 0.0", "above 0"),
        (f"{TASK}.detection.thresholdValue = 1e999", "above 0"),
        (f"{TASK}.detection.thresholdValue = 1{'0' * 400}", "above 0"),
        (f"{TASK}.requiredTemplateFraction = 2", "from 0 to 1"),
        (f"{TASK}.sourceSelector.signalToNoiseMin = 20.0", "doSignalToNoiseLimit is not True"),
        (f"{TASK}.subtract['al'].selectMeasurement.plugins['x'].minSn = 9", "subtract.stars"),
        (f"{TASK}.measurement.plugins['ip_diffim_DipoleFit'].minSn = 9", "dipole_preference"),
    ],
)
def test_what_has_no_counterpart_is_named(line, reason):
    text = f"\n{line}\n"
    assert reason in reasons(text)[2]


@pytest.mark.parametrize(
    "line",
    [
        f"{TASK}.doMeasurement = True",
        f"{TASK}.doWriteSubtractedExp = True",
        f"{AL}.spatialModelType = 'chebyshev1'",
        f"{TASK}.detection.thresholdType = 'pixel_stdev'",
        f"{TASK}.getTemplate.retarget(GetCoaddAsMultiTractTemplateTask)",
        f"{TASK}.doUseRegister = False",
        "config.doMaskStreaks = True",
        "config.writeStreakInfo = False",
    ],
)
def test_what_is_done_anyway(line):
    out = translate(line)
    assert not out.values
    assert not out.left_out
    assert len(out.remarks) == 1


def test_changes_in_place():
    text = f"{AL}.spatialKernelOrder = 2\n{AL}.spatialKernelOrder += 2\n"
    assert value(text, "subtract.fit.order") == 2
    assert "assign a literal" in reasons(text)[2]
    names = "config.measurement.plugins.names |= ['base_CircularApertureFlux']\n"
    assert "measure.apertures" in reasons(names)[1]


def test_calls_on_one_option_are_all_named():
    text = "config.select.retarget(A)\nconfig.select.retarget(B)\nconfig.load('more.py')\n"
    assert list(reasons(text)) == [1, 2, 3]
    assert "import it by itself" in reasons(text)[3]
