import ast
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from skydelta import cli
from skydelta.dia_pipe import ConfigError, translate
from skydelta.dia_pipe.pex_config import UNKNOWN, parse_pex_config
from skydelta.dia_pipe.reasons import ZOGY_IGNORES, reason_for
from skydelta.dia_pipe.rules import UNDERSTOOD
from skydelta.io.dia_pipe import as_yaml

ROOT = Path(__file__).resolve().parents[1]

AL = "config.imageDifference.subtract['al'].kernel['AL']"
DF = "config.imageDifference.subtract['al'].kernel['DF']"
TASK = "config.imageDifference"

TUTORIAL = f"""\
from lsst.meas.algorithms import LoadIndexedReferenceObjectsTask
{TASK}.refObjLoader.retarget(LoadIndexedReferenceObjectsTask)
{TASK}.refObjLoader.load('obs_lsst/config/filterMap.py')
{TASK}.kernelSourcesFromRef = True
config.ccdKey = 'detector'
{TASK}.detection.thresholdValue = 5.5
{AL}.spatialKernelOrder=4
{AL}.usePcaForSpatialKernel=False
{AL}.alardNGauss=4
{AL}.alardDegGauss=[2, 4, 2, 2]
{AL}.alardSigGauss=[0.1, 0.7, 1.5, 3.0]
{TASK}.doPreConvolve=False
{TASK}.useGaussianForPreConvolution=False
{TASK}.doDecorrelation = False
{TASK}.doSpatiallyVarying = False
{TASK}.convolveTemplate = True
{TASK}.doDeblend = True
"""

ZOGY = f"""\
import os
from lsst.utils import getPackageDir
from lsst.ip.diffim.getTemplate import GetCalexpAsTemplateTask
{TASK}.refObjLoader.load(os.path.join(getPackageDir('obs_lsst'), 'config', 'filterMap.py'))
{TASK}.kernelSourcesFromRef = True
config.ccdKey = 'detector'
{TASK}.subtract='zogy'
{TASK}.subtract['zogy'].zogyConfig.inImageSpace=False
"""


def value(text, key):
    """The value a configuration gives a dotted key, "unset" without one."""
    return translate(text).get(key, "unset")


def outcome(text):
    """The translation, or None and the message of the error."""
    try:
        return translate(text), ""
    except ConfigError as error:
        return None, str(error)


def reasons(text):
    """Reason by line number of what is not applied."""
    return {remark.line: remark.reason for remark in translate(text).left_out}


def notes(text):
    """Reason by line number of what is remarked upon."""
    return {remark.line: remark.reason for remark in translate(text).remarks}


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
    }
    left_out, said = reasons(TUTORIAL), notes(TUTORIAL)
    assert set(left_out) == {2, 3, 13}
    assert "reference catalogue" in left_out[2]
    assert "doPreConvolve is not True" in left_out[13]
    assert set(said) == {4, 5, 11, 17}
    assert "subtract.stars.catalogue must name" in said[4]
    assert "`detector`" in said[5]
    assert "ignores these widths" in said[11]
    assert "always fitted together" in said[17]


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
        (f"{AL}.usePcaForSpatialKernel = True", "subtract.basis.components", 5),
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
    number = f"{AL}.numPrincipalComponents = 7\n"
    assert value(number + f"{AL}.usePcaForSpatialKernel = True", "subtract.basis.components") == 7
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


@pytest.mark.parametrize(
    "statement",
    [
        "config.a.b = 3",
        "config.a.b: int = 3",
        "config.x = config.a.b = 3",
        "config.x, config.a.b = 1, 3",
        "[config.x, (config.a.b, config.y)] = [1, (3, 2)]",
        "config.a.update(b=3)",
        "setattr(config.a, 'b', 3)",
        "config.a.b = (\n    3\n)",
    ],
)
def test_assignment_forms(statement):
    parsed = parse_pex_config(statement)
    assert not parsed.others
    (setting,) = [s for s in parsed.settings if s.option == ("a", "b")]
    assert (setting.value, setting.line, setting.plain) == (3, 1, True)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("-1.5", -1.5),
        ("'a' 'b'", "ab"),
        ("[1, (2, None)]", [1, (2, None)]),
        ("{'a': True}", {"a": True}),
        ("1 + 1", UNKNOWN),
        ("0.7/0.2", UNKNOWN),
        ("name", UNKNOWN),
        ("f'{1}'", UNKNOWN),
        ("[x for x in y]", UNKNOWN),
        ("{[]: 1}", UNKNOWN),
    ],
)
def test_literals(literal, expected):
    (setting,) = parse_pex_config(f"config.a = {literal}").settings
    assert setting.value == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import numpy", "nothing is imported"),
        ("import os, shutil", "nothing is imported"),
        ("from . import other", "nothing is imported"),
        ("from lsstlike import x", "nothing is imported"),
        ("order = 4", "a variable"),
        ("diff.doDecorrelation = True", "a variable"),
        ("config = other", "replaces the whole"),
        ("config.a, config.b = pair", "known only when executed"),
        ("config.a[name].b = 1", "known only when executed"),
        ("config.a: int", "sets nothing"),
        ("order += 1", "no option"),
        ("print(config)", "a call"),
        ("setattr(config, name, 1)", "a call"),
        ("getattr(config, 'a').load('b.py')", "a call"),
        ("config.a == 3", "an expression"),
        ("assert config.a", "a check"),
        ("del config.a", "not followed"),
        ("raise RuntimeError", "not followed"),
        ("for x in y:\n    z(x)", "`for` that is not executed"),
    ],
)
def test_other_statements_are_named(text, reason):
    (remark,) = translate(text).left_out
    assert reason in remark.reason
    assert remark.line == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'''A docstring.'''",
        "import os.path",
        "import lsst.pipe.tasks as t",
        "from lsst.utils import getPackageDir",
        "from os import environ",
        "pass",
        "# config.doDeblend = True",
    ],
)
def test_what_needs_no_word(text):
    out = translate(text)
    assert (out.values, out.remarks, out.left_out) == ({}, [], [])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("if True:", "`if`"),
        ("for i in (1, 2):", "`for`"),
        ("while x:", "`while`"),
        ("with x:", "`with`"),
        ("def f(config):", "`def`"),
        ("async def f(config):", "`def`"),
        ("class C:", "`class`"),
        ("match x:\n  case 1:", "`match`"),
    ],
)
def test_what_depends_on_execution_is_named_and_not_applied(head, kind):
    inner = len(head.splitlines()) + 1
    out = translate(f"{head}\n     {AL}.spatialKernelOrder = 4\n{AL}.nStarPerCell = 4\n")
    assert out.values == {"subtract": {"stars": {"per_cell": 4}}}
    (remark,) = out.left_out
    assert f"inside {kind} on line 1" in remark.reason
    assert remark.line == inner


def test_all_branches_of_a_nested_statement_are_named():
    text = "try:\n    config.a = 1\nexcept E:\n    if x: config.b = 2\n    else: config.load('x')\n"
    assert list(reasons(text)) == [2, 4, 5]


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
        (f"{TASK}.doDipoleFitting = True", "no dipole model"),
        (f"{TASK}.doSelectSources = False", "always selected"),
        (f"{TASK}.doDeblend = False", "always fitted together"),
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
        (f"{TASK}.measurement.plugins['ip_diffim_DipoleFit'].minSn = 9", "dipole_separation"),
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
    ],
)
def test_what_is_done_anyway(line):
    out = translate(line)
    assert not out.values
    assert not out.left_out
    assert len(out.remarks) == 1


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{AL}.spatialKernelOrder = 2.0", "the stack takes a whole number here"),
        (f"{AL}.spatialKernelOrder = True", "a whole number"),
        (f"{AL}.spatialKernelOrder = None", "a whole number"),
        (f"{TASK}.detection.thresholdValue = '5.5'", "a number"),
        (f"{TASK}.detection.thresholdValue = True", "a number"),
        (f"{TASK}.doDecorrelation = 1", "True or False"),
        (f"{TASK}.doPreConvolve = 'yes'", "True or False"),
        (f"{TASK}.subtract = 5", "text"),
        (f"{AL}.alardSigGauss = 3.0", "a list"),
        (f"{AL}.alardSigGauss = ['a']", "a number"),
        (f"{AL}.alardDegGauss = [4, 2.5, 2]", "a whole number"),
        (f"{AL}.spatialKernelOrder = 2 * 2", "not a literal"),
        (f"{AL}.spatialKernelOrder = order", "not a literal"),
        (f"{TASK}.subtract = method", "not a literal"),
        ("config.x = = 3", "this is not Python"),
        ("config.x = (", "this is not Python"),
    ],
)
def test_mistakes_are_told_with_their_line(line, message):
    with pytest.raises(ConfigError, match=f"line 3: .*{message}"):
        translate(f"\n\n{line}\n")


@pytest.mark.parametrize(
    "source", [b"config.x = 1\0", b"config.x = '\xff'", "config" + ".a" * 20000 + " = 1"]
)
def test_what_python_cannot_read(source):
    with pytest.raises(ConfigError, match=r"not Python|nested too deeply"):
        translate(source)


def test_byte_order_mark_and_line_ends():
    source = f"\ufeff{AL}.spatialKernelOrder = 3\r\n".encode()
    assert translate(source).get("subtract.fit.order") == 3


def test_nothing_is_executed(tmp_path):
    witness = tmp_path / "executed"
    path = tmp_path / "config.py"
    path.write_text(
        "import os\n"
        "import this_module_does_not_exist\n"
        f"open({str(witness)!r}, 'w').close()\n"
        f"config.a = os.system('touch {witness}')\n"
        f"config.b.load(open({str(witness)!r}, 'w'))\n"
        f"if os.mkdir({str(witness)!r}): config.c = 1\n"
        f"{AL}.spatialKernelOrder = 3\n"
        "raise SystemExit(3)\n",
        encoding="utf-8",
    )
    assert cli.main(["import-config", str(path)]) == 0
    assert not witness.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_modules_do_not_execute():
    """No module of the importer has a call of eval, exec, compile or __import__."""
    for path in [*ROOT.glob("src/skydelta/dia_pipe/*.py"), ROOT / "src/skydelta/io/dia_pipe.py"]:
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {f.id for f in calls if isinstance(f, ast.Name)}
        assert not names & {"eval", "exec", "compile", "__import__"}, path


def command(*arguments):
    return cli.main(["import-config", *map(str, arguments)])


def test_command_to_standard_output(tmp_path, capsys):
    path = tmp_path / "diffim.py"
    path.write_text(TUTORIAL, encoding="utf-8")
    assert command(path) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out) == translate(TUTORIAL).values
    assert "not applied: line 2: " in err
    assert "note: line 5: config.ccdKey = 'detector': " in err
    # The comments are at the end and name the same lines.
    comments = " ".join(line.lstrip("# ") for line in out.split("\n\n", 1)[1].splitlines())
    for line in (2, 3, 4, 5, 11, 13, 17):
        assert f"line {line}: " in comments
    assert max(len(line) for line in out.splitlines()) <= 120


def test_command_to_a_file_overwrites_only_by_force(tmp_path, capsys):
    source, target = tmp_path / "diffim.py", tmp_path / "mine.yaml"
    source.write_text(ZOGY, encoding="utf-8")
    assert command(source, "-o", target) == 0
    assert yaml.safe_load(target.read_text())["subtract"]["method"] == "zogy"
    target.write_text("mine")
    assert command(source, "-o", target) == 1
    assert "exists" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert command(source, "-o", target, "--force") == 0
    assert "zogy" in target.read_text()
    assert command(source, "-o", source, "--force") == 1
    assert source.read_text() == ZOGY
    assert command(source, "-o", tmp_path / "nowhere" / "mine.yaml") == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("config.x = = 1", "diffim.py: line 1: this is not Python"),
        (f"{AL}.spatialKernelOrder = x", "diffim.py: line 1: .*not a literal"),
    ],
)
def test_command_that_fails_writes_nothing(tmp_path, capsys, text, message):
    source, target = tmp_path / "diffim.py", tmp_path / "mine.yaml"
    if text is not None:
        source.write_text(text, encoding="utf-8")
    assert command(source, "-o", target) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("skydelta: ")
    assert all(part in err for part in message.split(".*"))
    assert not target.exists()


def test_empty_configuration_is_still_a_mapping(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("")
    assert command(tmp_path / "empty.py") == 0
    assert yaml.safe_load(capsys.readouterr().out) == {}


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
options = st.sampled_from(
    [
        *(
            f"{AL}.{o.removeprefix('kernel.')}"
            for o in sorted(UNDERSTOOD)
            if o.startswith("kernel.")
        ),
        *(f"{TASK}.{o}" for o in sorted(UNDERSTOOD) if "[" not in o and "kernel." not in o),
        f"{TASK}.subtract['al'].kernel",
        f"{TASK}.unknown['\u2028 # : {{']",
    ]
)


@given(st.lists(st.tuples(options, literals), max_size=6))
def test_any_values_give_an_error_with_a_line_or_valid_yaml(assignments):
    text = "".join(f"{option} = {literal!r}\n" for option, literal in assignments)
    out, error = outcome(text)
    if out is None:
        assert "line " in error
        return
    assert (yaml.safe_load(as_yaml(out, "x\n- y.py")) or {}) == out.values
    # Values that reach a key of today's schema are within its limits.
    assert not [e for e in problems(out.values) if e.validator != "additionalProperties"]


@given(st.text(max_size=60))
def test_any_text_gives_an_error_or_a_translation(text):
    out, _ = outcome(text)
    assert out is None or isinstance(yaml.safe_load(as_yaml(out, "x.py")), dict)


@given(st.text(min_size=1, max_size=30), literals)
def test_every_option_has_a_reason(option, literal):
    assert reason_for(option, literal, UNDERSTOOD).text


SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def problems(values):
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(values))


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
