"""One method on one exposure: the chain from subtraction to measurement, and its figures."""

import logging
from dataclasses import dataclass
from pathlib import Path

from skydelta.compare.figures import Products, figures
from skydelta.compare.meter import Meter, peak_megabytes
from skydelta.compare.prepare import Prepared
from skydelta.errors import SkydeltaError
from skydelta.io.outcome import OK

log = logging.getLogger(__name__)

STEPS = ("subtract", "decorrelate", "detect_measure")
"""The steps whose CPU time is taken."""


@dataclass(frozen=True)
class MethodJob:
    """One method on one exposure.

    Parameters
    ----------
    prepared
        Prepared.
    config
        The whole configuration of the method.
    sigmas
        Path for D / sqrt(V), for pictures.
    keep
        Path for the difference exposure, or None.
    """

    prepared: Prepared
    config: dict
    sigmas: Path
    keep: Path | None = None


@dataclass(frozen=True)
class MethodResult:
    """What came of it.

    Parameters
    ----------
    row
        Figure by column name (`skydelta.compare.columns`): status, stage and message at least.
    details
        Arrays for plots and pictures: x, y, score of the detections; event_snr and event_found of
        the observable events, pulls.
    """

    row: dict
    details: dict


def run_method(job):
    """The MethodResult of a MethodJob; a SkydeltaError becomes its status."""
    _import_all()
    meter = Meter()
    try:
        products = _chain(job, meter)
    except SkydeltaError as error:
        log.error("%s: %s", error.status, error)
        message = " ".join(str(error).split())
        stage = getattr(error, "stage", "") or meter.step
        row = {"status": error.status, "stage": stage, "message": message}
        return MethodResult(row | _spent(meter), {})
    spent = _spent(meter)
    row, details = figures(job.prepared, products, job.config, job.sigmas)
    if job.keep is not None:
        _write(job.keep, products)
    return MethodResult({"status": OK, "stage": "", "message": ""} | row | spent, details)


def _import_all():
    """Load the stages' modules beforehand: their time is not that of the method."""
    from importlib import import_module

    for name in ("alard_lupton", "zogy", "external", "decorrelate", "detect", "measure"):
        import_module(f"skydelta.{name}")


def _chain(job, meter):
    """The stages as the workflow runs them, without the files between them."""
    from skydelta.decorrelate import DecorrelateOptions, decorrelate
    from skydelta.detect import DetectOptions, detect
    from skydelta.detections import mask_with_planes
    from skydelta.io.inputs import read_catalogue
    from skydelta.io.templates import read_template
    from skydelta.matched_template import MatchedTemplate
    from skydelta.measure import MeasureOptions, measure
    from skydelta.report.entries import card
    from skydelta.stage import options
    from skydelta.subtract import subtract, subtract_options

    science, config = job.prepared.science, job.config
    template, correlation = read_template(job.prepared.template)
    with meter.measuring("subtract"):
        choices = subtract_options(config["subtract"])
        catalogue = None
        if choices.stars.source == "catalogue":
            catalogue = read_catalogue(choices.stars.catalogue, science.band)
        raw = subtract(science, template, correlation, options=choices, catalogue=catalogue)
    with meter.measuring("decorrelate"):
        choices = options(DecorrelateOptions, config["decorrelate"])
        white = decorrelate(raw, science, template, correlation, options=choices)
    with meter.measuring("detect_measure"):
        choices = options(DetectOptions, config["detect"])
        result = white.exposure
        matched = MatchedTemplate.of(template, result.meta)
        found = detect(
            result, psf=white.detection_psf, score=white.score, matched=matched, options=choices
        )
        result = result.replace(mask=mask_with_planes(result.mask, found))
        columns = measure(
            result,
            science,
            template,
            found,
            kernel_sum=raw.flux_ratio,
            kernel_error=card(raw.exposure, "KFLUXERR", 0.0),
            options=options(MeasureOptions, config["measure"]),
        )
    return Products(raw, white, found, columns)


def _spent(meter):
    seconds = {f"cpu_{step}": meter.seconds.get(step) for step in STEPS}
    total = sum(meter.seconds.values()) if len(meter.seconds) == len(STEPS) else None
    return seconds | {"cpu_total": total, "peak_mb": peak_megabytes()}


def _write(path, products):
    from skydelta.io.differences import detection_hdus
    from skydelta.io.native import write_exposure

    path.parent.mkdir(parents=True, exist_ok=True)
    write_exposure(path, products.white.exposure, detection_hdus(products.white))
