"""Configurations of the stack for the tests, and what becomes of them."""

from pathlib import Path

import jsonschema
import yaml

from skydelta.dia_pipe import ConfigError, translate

ROOT = Path(__file__).resolve().parents[2]

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

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


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


def problems(values):
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(values))
