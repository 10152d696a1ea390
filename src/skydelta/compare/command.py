"""All methods on all exposures, the table and the page."""

import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Semaphore

from skydelta.compare.child import CRASHED, Failure, run_child
from skydelta.compare.columns import write_table
from skydelta.compare.cutouts import chosen_places, gallery
from skydelta.compare.method import MethodJob, MethodResult
from skydelta.compare.page import ExposureComparison, write_page
from skydelta.compare.prepare import PrepareJob
from skydelta.compare.survey import RESULTS, Selection, catalogue_path, find_targets
from skydelta.compare.truth import events_of, read_truth
from skydelta.compare.variants import chosen_variants
from skydelta.configuration import load_config
from skydelta.io.outcome import OK

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What `skydelta compare` was asked for.

    Parameters
    ----------
    output
        Folder for comparison.csv, comparison.html, the logs and templates that are made.
    exposures, coadds, data, truth
        Paths that replace those of the configuration, or None.
    results
        Folder of the workflow's products; None for ``results`` here, if it exists.
    config
        Configuration file, or None.
    methods, variants
        Names, or None for the default ones; file of further variants, or None.
    selection
        Selection of exposures.
    jobs
        Processes at a time.
    keep
        Whether difference exposures are kept in ``output/differences``.
    """

    output: Path
    exposures: Path | None = None
    coadds: Path | None = None
    data: Path | None = None
    truth: Path | None = None
    results: Path | None = None
    config: Path | None = None
    methods: list | None = None
    variants: Path | None = None
    selection: Selection = field(default_factory=Selection)
    jobs: int = 1
    keep: bool = False


def compare(request):
    """Run the comparison and write table and page.

    Returns
    -------
    list of ExposureComparison

    Raises
    ------
    SkydeltaError
        If it cannot start; later failures are rows of the table.
    """
    results = _results(request)
    config = load_config(request.config)
    variants = [
        replace(v, config=catalogue_path(v.config, results))
        for v in chosen_variants(config, request.methods, request.variants)
    ]
    config |= _given_paths(request)
    targets, truth_path = find_targets(config, request.selection, results)
    truth = read_truth(truth_path) if truth_path else None
    request.output.mkdir(parents=True, exist_ok=True)
    pictured = {target.id for target in targets[: config["report"]["max_pictures"]]}
    runner = _Runner(request, config, variants, truth, pictured)
    with ThreadPoolExecutor(request.jobs) as pool:
        comparisons = list(pool.map(runner.exposure, targets))
    rows = [r.row for c in comparisons for r in c.results.values()]
    write_table(request.output / "comparison.csv", rows)
    sources = {"exposures": config["exposures"], "coadds": config["coadds"]}
    sources |= {"results": results, "truth": truth_path}
    write_page(
        request.output / "comparison.html", comparisons, variants, config=config, sources=sources
    )
    return comparisons


def has_crashed(comparisons):
    """Whether any method ended with an error that is not one of the user's data."""
    return any(r.row["status"] == CRASHED for c in comparisons for r in c.results.values())


def _results(request):
    from skydelta.compare.variants import UsageError

    if request.results is not None:
        if not Path(request.results).is_dir():
            msg = f"{request.results} is no folder: --results names the products of a run"
            raise UsageError(msg)
        return Path(request.results)
    here = Path(RESULTS)
    return here if here.is_dir() else None


def _given_paths(request):
    """The tables of the command line in place of the configuration's; no coadds for None."""
    names = ("exposures", "coadds", "data", "truth")
    given = {key: getattr(request, key) for key in names if getattr(request, key) is not None}
    if "exposures" in given:
        given.setdefault("coadds", None)
    # Absolute: a relative path of the command line starts where the command is given.
    return {key: path and str(Path(path).absolute()) for key, path in given.items()}


class _Runner:
    """Runs every method on an exposure, at most so many processes at a time."""

    def __init__(self, request, config, variants, truth, pictured):
        self.request, self.config, self.variants = request, config, variants
        self.truth, self.pictured = truth, pictured
        self.free = Semaphore(request.jobs)

    def exposure(self, target):
        """The ExposureComparison of a Target."""
        with tempfile.TemporaryDirectory(prefix=".compare-", dir=self.request.output) as folder:
            folder = Path(folder).absolute()
            prepared = self._child(self._prepare_job(target, folder), target.id, folder / "prepare")
            if isinstance(prepared, Failure):
                done = [_failed(prepared, "prepare") for _ in self.variants]
                for variant, result in zip(self.variants, done, strict=True):
                    _tell(target, variant, result)
            else:
                with ThreadPoolExecutor(self.request.jobs) as pool:
                    every = range(len(self.variants))
                    done = list(
                        pool.map(lambda k: self._method(k, target, prepared, folder), every)
                    )
            kind = self._template_kind(target)
            results = {
                variant.name: MethodResult(_identity(target, variant, kind) | r.row, r.details)
                for variant, r in zip(self.variants, done, strict=True)
            }
            facts, pictures = [f"template: {kind}"], ""
            if not isinstance(prepared, Failure):
                facts = [*_facts(prepared), *facts, *prepared.remarks]
                if target.id in self.pictured:
                    pictures = self._gallery(prepared, results)
            return ExposureComparison(target.id, " · ".join(facts), results, pictures)

    def _prepare_job(self, target, folder):
        row = target.exposure
        return PrepareJob(
            exposure=_plain_row(row),
            template=target.template,
            coadds=None if target.coadds is None else [_plain_row(c) for c in target.coadds],
            output=self.request.output.absolute() / "templates" / f"template_{target.id}.fits",
            inputs=self.config["input"],
            template_options=self.config["template"],
            events=events_of(self.truth, row),
            folder=folder,
        )

    def _method(self, index, target, prepared, folder):
        variant = self.variants[index]
        name = f"diffexp_{target.id}_{variant.file_name}.fits"
        keep = self.request.output.absolute() / "differences" / name
        job = MethodJob(
            prepared,
            variant.config,
            sigmas=folder / f"sigmas{index}.npy",
            keep=keep if self.request.keep else None,
        )
        result = self._child(job, f"{target.id}-{variant.file_name}", folder / f"method{index}")
        if isinstance(result, Failure):
            result = _failed(result, "")
        _tell(target, variant, result)
        return result

    def _child(self, job, name, scratch):
        with self.free:
            return run_child(job, self.request.output / "logs" / f"{name}.log", scratch)

    def _gallery(self, prepared, results):
        good = {name: r for name, r in results.items() if r.row["status"] == OK}
        folder = prepared.folder
        planes = {
            v.name: folder / f"sigmas{k}.npy" for k, v in enumerate(self.variants) if v.name in good
        }
        threshold = self.config["detect"]["threshold"]
        places = chosen_places(prepared, list(good.values()), threshold) if good else []
        return gallery(prepared, places, planes)

    def _template_kind(self, target):
        if target.template is not None:
            return "the workflow's"
        return "none" if target.coadds is None else f"made of {len(target.coadds)} coadds"


def _plain_row(row):
    return {name: getattr(row, name) for name in ("band", "path", "psf", "weight", "mask")}


def _identity(target, variant, kind):
    visit, detector, band = target.exposure.key
    identity = {"visit": visit, "detector": detector, "band": band, "method": variant.name}
    return identity | {"template": kind}


def _failed(failure, stage):
    row = {"status": failure.status, "stage": stage, "message": failure.message}
    return MethodResult(row, {})


def _facts(prepared):
    ny, nx = prepared.science.shape
    facts = [f"{nx} × {ny} px", f"FWHM {prepared.fwhm:.2f} px", f"{len(prepared.stars[0])} stars"]
    if prepared.events is not None:
        facts.append(f"{len(prepared.events['x'])} true changes")
    return facts


def _tell(target, variant, result):
    """A line of progress on standard error."""
    row = result.row
    cost = f"{row['cpu_total']:.1f} CPU s" if row.get("cpu_total") is not None else row["message"]
    print(f"{target.id} {variant.name}: {row['status']}, {cost}", file=sys.stderr, flush=True)
