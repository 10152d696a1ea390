import subprocess
import sys

import pytest
from pex_texts import AL, ROOT, SCHEMA, TASK, TUTORIAL, ZOGY, notes, outcome, problems, reasons

from skydelta.dia_pipe import translate
from skydelta.dia_pipe.reasons import ZOGY_IGNORES
from skydelta.dia_pipe.rules import UNDERSTOOD


def test_tutorial():
    assert translate(TUTORIAL).values == {
        "subtract": {
            "convolve": "template",
            "preconvolve": "none",
            "basis": {
                "scale_by_fwhm": True,
                "sigmas": [0.1, 0.7, 1.5, 3.0],
                "degrees": [2, 4, 2, 2],
                "components": None,
            },
            "stars": {"source": "catalogue"},
            "fit": {"order": 4},
        },
        "decorrelate": {"enabled": False, "spatially_varying": False},
        "detect": {"threshold": 5.5},
        "measure": {"deblend": True},
    }
    left_out, said = reasons(TUTORIAL), notes(TUTORIAL)
    assert set(left_out) == {2, 3, 13}
    assert "reference catalogue" in left_out[2]
    assert "doPreConvolve is not True" in left_out[13]
    assert set(said) == {4, 5, 11, 17}
    assert "subtract.stars.catalogue must name" in said[4]
    assert "`detector`" in said[5]
    assert "ignores these widths" in said[11]
    assert "v20 has no doDeblend" in said[17]


def test_zogy():
    assert translate(ZOGY).values == {
        "subtract": {"method": "zogy", "zogy": {"image_space": False}}
    }
    assert set(reasons(ZOGY)) == {4, 5}


def test_every_line_of_a_file_is_applied_or_named():
    """Each of the options in turn, alone, with a value of its type."""
    for option in sorted(UNDERSTOOD | set(ZOGY_IGNORES)):
        path = option.replace(".[", "['").replace("]", "']")
        if path.startswith("kernel."):
            path = f"subtract['al'].kernel['AL'].{path.removeprefix('kernel.')}"
        if path == "kernel":
            path = "subtract['al'].kernel"
        if path.startswith("zogyConfig"):
            path = f"subtract['zogy'].{path}"
        for literal in ("True", "False", "3", "'al'", "'AL'", "'both'", "[12.0]", "'lanczos4'"):
            out, error = outcome(f"{TASK}.{path} = {literal}\n")
            named = "line 1" in error if out is None else out.left_out or out.remarks
            assert named or out.values, option


EVERYTHING = f"""\
{TUTORIAL}
{TASK}.doPreConvolve = True
{TASK}.convolveTemplate = False
{TASK}.requiredTemplateFraction = 0.3
{TASK}.detection.thresholdPolarity = 'both'
{TASK}.detection.nSigmaToGrow = 2.4
{TASK}.subtract.name = 'al'
{TASK}.sourceSelector.doSignalToNoiseLimit = True
{TASK}.sourceSelector.signalToNoiseMin = 20.0
{TASK}.sourceSelector.signalToNoiseMax = 0.0
{TASK}.measurement.plugins['base_CircularApertureFlux'].radii = [3.0, 6.0, 12.0]
{TASK}.subtract['al'].kernel.name = 'AL'
{AL}.scaleByFwhm = False
{AL}.kernelSize = 21
{AL}.sizeCellX = 128
{AL}.sizeCellY = 128
{AL}.nStarPerCell = 3
{AL}.maxSpatialIterations = 3
{AL}.fitForBackground = True
{AL}.spatialBgOrder = 2
{AL}.usePcaForSpatialKernel = True
{AL}.numPrincipalComponents = 4
{AL}.warpingConfig.warpingKernelName = 'lanczos3'
"""


@pytest.mark.parametrize("text", [TUTORIAL, ZOGY, EVERYTHING, f"{AL}.fitForBackground = False"])
def test_result_validates(text):
    if "method" not in SCHEMA["properties"]["subtract"]["properties"]:
        pytest.skip("the schema has no subtract.method yet")
    assert not problems(translate(text).values)


def test_documentation_names_every_option():
    table = (ROOT / "docs/dia_pipe.md").read_text(encoding="utf-8")
    for option in UNDERSTOOD:
        assert option.rsplit(".", 1)[-1] in table, option
    flags = (
        "--id --output --rerun --calib --cores --batch-type --time --mpiexec --batch-output "
        "--batch-options --job --clobber-config --clobber-versions -C -c"
    )
    for flag in flags.split():
        assert f"`{flag}" in table, flag


def test_import_is_light():
    code = (
        "import sys, skydelta.io.dia_pipe; "
        "print({'numpy', 'astropy', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
