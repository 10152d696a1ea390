"""What is compared: exposures, the coadds or the ready template of each, and the truth."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from skydelta.compare.variants import UsageError
from skydelta.configuration import ROOT
from skydelta.errors import TableError
from skydelta.survey import (
    coadds_of_survey,
    demo_table,
    exposures_of_survey,
    is_simulated,
    located,
)
from skydelta.tables import ExposureRow, exposure_id

RESULTS = "results"
"""Where the workflow puts its products."""


@dataclass(frozen=True)
class Target:
    """One exposure to compare methods on.

    Parameters
    ----------
    exposure
        Its row of the table.
    template
        Path of the template that the workflow made of it, or None.
    coadds
        Rows of the coadds under it, where there is no template; None if no table of them is known.
    """

    exposure: ExposureRow
    template: Path | None = None
    coadds: list | None = None

    @property
    def id(self):
        """The name of the exposure in all products."""
        return self.exposure.id


@dataclass(frozen=True)
class Selection:
    """Which exposures of the table are wanted; an empty list is any."""

    visits: list = field(default_factory=list)
    detectors: list = field(default_factory=list)
    bands: list = field(default_factory=list)

    def holds(self, row):
        """Whether an exposure is wanted."""
        wanted = (self.visits, row.visit), (self.detectors, row.detector), (self.bands, row.band)
        return all(not some or value in some for some, value in wanted)


def find_targets(config, selection, results=None):
    """The Targets of a configuration, and the path of its table of the truth.

    Parameters
    ----------
    config
        The whole configuration, its `coadds` None where none are known. Relative paths start in
        the folder of `results`, in the current folder or beside the Snakefile.
    selection
        Selection.
    results
        Folder of the workflow's products, whose templates are used again; or None.

    Returns
    -------
    targets
        List of Target, in the order of the table.
    truth
        Path, or None.

    Raises
    ------
    TableError, UsageError
        If a table is missing or malformed, or no exposure is left.
    """
    working = [Path(results).resolve().parent] if results is not None else []
    paths = _located(config, [*working, Path.cwd(), ROOT])
    rows = exposures_of_survey(paths)
    chosen = [row for row in rows if selection.holds(row)]
    if not chosen:
        visits = ", ".join(dict.fromkeys(str(row.visit) for row in rows[:8]))
        source = paths["exposures"] or paths["repository"]["calexp"]
        msg = f"no exposure of {source} is selected; it has visits {visits} ..."
        raise UsageError(msg)
    targets = [Target(row, _template(row, results)) for row in chosen]
    missing = [t.exposure for t in targets if t.template is None]
    if len(missing) == len(targets) and is_simulated(config):
        _refuse_other_run(results)
    repository = paths["repository"]
    if missing and (paths["coadds"] or repository["calexp"] or repository["coadd"]):
        edges = _edges(missing, paths)
        targets = [replace(t, coadds=edges.get(t.exposure.key)) for t in targets]
    return targets, paths["truth"]


def _located(config, folders):
    """Absolute paths of the tables; those of the demo must exist by now, too."""
    if not is_simulated(config):
        known = config if config["coadds"] else {**config, "coadds": ""}
        return located(known, folders)
    names = {key: demo_table(config, key) for key in ("exposures", "coadds", "truth")}
    for folder in folders:
        if all((folder / name).is_file() for name in names.values()):
            demo = {key: str(folder / name) for key, name in names.items()}
            demo["truth"] = config["truth"] or demo["truth"]
            return located({**config, **demo}, folders)
    msg = (
        f"{names['exposures']}, the built-in demo, is not there: run `snakemake` first, or name "
        "tables with --exposures and --coadds, or the products of a run with --results"
    )
    raise TableError(msg)


def _refuse_other_run(results):
    """Whoever ran the workflow on tables of their own does not want the demo compared."""
    if results is not None and any(Path(results).glob("deepDiff/*/template_*.fits")):
        msg = (
            f"{results} holds the products of other exposures than the demo's: name the tables of "
            "that run with --exposures and --coadds, or its configuration with --config"
        )
        raise UsageError(msg)


def _template(row, results):
    if results is None:
        return None
    name = exposure_id(*row.key[:2], row.band)
    path = Path(results, "deepDiff", f"v{row.visit:08d}-f{row.band}", f"template_{name}.fits")
    return path.resolve() if path.is_file() else None


def _edges(exposures, paths):
    from skydelta.overlap import overlap_edges

    coadds, footprints = coadds_of_survey(paths, exposures, cache=None)
    return overlap_edges(
        exposures,
        coadds,
        footprints=footprints,
        mapping=paths["overlap"]["tracts_mapping"],
        margin_px=paths["overlap"]["margin_px"],
    )


def catalogue_path(config, results=None):
    """The configuration with an absolute path of the star catalogue, where it names one."""
    name = config["subtract"]["stars"]["catalogue"]
    if not name:
        return config
    working = [Path(results).resolve().parent] if results is not None else []
    for folder in (*working, Path.cwd(), ROOT):
        if (folder / name).exists():
            name = str(folder / name)
            break
    stars = {**config["subtract"]["stars"], "catalogue": name}
    return {**config, "subtract": {**config["subtract"], "stars": stars}}
