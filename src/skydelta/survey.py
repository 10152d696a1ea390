"""What the workflow knows before any job runs: exposures, coadds, and which lie under which."""

import json
from dataclasses import dataclass
from pathlib import Path

from skydelta.errors import TableError
from skydelta.overlap import overlap_edges
from skydelta.tables import CoaddRow, ExposureRow, read_coadds, read_exposures

CACHE = Path(".snakemake") / "skydelta"
"""Kept from one start to the next: footprints, edges and the plan of the demo."""


@dataclass(frozen=True)
class Survey:
    """The two tables and the edges between them.

    Parameters
    ----------
    exposures, coadds
        Rows of the tables.
    edges
        List of CoaddRow by (visit, detector, band).
    simulated
        Whether the images are made by the workflow's own simulator.
    footprints
        Footprints by path that are known without the images: the demo's as planned, and coadds'
        of a repository from its sky map.
    """

    exposures: list
    coadds: list
    edges: dict
    simulated: bool
    footprints: dict

    @property
    def sky_map_footprints(self):
        """Footprints that hold for the images as they are, not only as they are planned."""
        return {} if self.simulated else self.footprints

    def exposure(self, visit, detector, band):
        """The row of one exposure."""
        return self._by_key[int(visit), int(detector), band]

    @property
    def _by_key(self):
        # Built once: thousands of jobs look their row up.
        if "_index" not in self.__dict__:
            object.__setattr__(self, "_index", {row.key: row for row in self.exposures})
        return self.__dict__["_index"]


def located(config, folders):
    """The parts of the configuration that name files, with absolute paths.

    Jobs work in the working directory, which need not be where the command was given.

    Parameters
    ----------
    config
        The whole configuration.
    folders
        Where a relative path may start, the first that has the file wins.

    Returns
    -------
    dict
        exposures, coadds, data, truth, repository, overlap, simulate, and the star_catalogue if the
        kernel's stars come from one. The demo's tables stay as they are, and are no longer named
        where a repository takes their place.

    Raises
    ------
    TableError
        If a file does not exist, or a table and a repository are both given for the same images.
    """
    paths = {key: config[key] for key in ("exposures", "coadds", "data", "truth", "simulate")}
    paths["repository"] = _located_repository(config["repository"], folders)
    if not is_simulated(config):
        paths |= dict.fromkeys(_replaced_tables(config), "")
        given = [key for key in ("exposures", "coadds", "data", "truth") if paths[key]]
        paths |= {key: _found(paths[key], key, folders) for key in given}
    overlap = dict(config["overlap"])
    if overlap["tracts_mapping"]:
        name = "overlap.tracts_mapping"
        overlap["tracts_mapping"] = _found(overlap["tracts_mapping"], name, folders)
    stars = config["subtract"]["stars"]
    catalogue = stars["catalogue"] if stars["source"] == "catalogue" else None
    if catalogue:
        catalogue = _found(catalogue, "subtract.stars.catalogue", folders)
    return paths | {"overlap": overlap, "star_catalogue": catalogue}


def load_survey(config):
    """The survey that a configuration names.

    Parameters
    ----------
    config
        The configuration, or the part of it that `located` gives.

    Raises
    ------
    TableError
        If a table is missing or malformed.
    """
    simulated = is_simulated(config)
    if simulated:
        exposures, coadds, footprints = _demo(config["simulate"])
    else:
        exposures = exposures_of_survey(config)
        coadds, footprints = coadds_of_survey(config, exposures)
        _refuse_braces([*exposures, *coadds])
    edges = overlap_edges(
        exposures,
        coadds,
        mapping=config["overlap"]["tracts_mapping"],
        footprints=footprints,
        cache=CACHE,
        margin_px=config["overlap"]["margin_px"],
    )
    return Survey(exposures, coadds, edges, simulated, footprints)


def exposures_of_survey(paths):
    """Rows of the exposures: from their table, or chosen from a repository.

    Parameters
    ----------
    paths
        What `located` gives.

    Raises
    ------
    TableError, InputError
        If the table is malformed, the repository none, or nothing is chosen.
    """
    section = paths["repository"]
    if not section["calexp"]:
        return read_exposures(paths["exposures"], paths["data"])
    from skydelta.repository.rows import chosen_exposures, open_repositories

    return chosen_exposures(open_repositories(section), section["select"])


def coadds_of_survey(paths, exposures, cache=CACHE):
    """Rows of the coadds, and the footprints of those that a sky map knows.

    Parameters
    ----------
    paths
        What `located` gives.
    exposures
        Rows of the exposures. Of a repository's coadds only those that may lie under them are
        looked for.
    cache
        Folder in which outlines are kept.

    Raises
    ------
    TableError, InputError
        As for `exposures_of_survey`.
    """
    section = paths["repository"]
    if paths["coadds"]:
        return read_coadds(paths["coadds"], paths["data"]), {}
    from skydelta.repository.rows import chosen_coadds, open_repositories

    return chosen_coadds(
        open_repositories(section),
        section["coadd_dataset"],
        section["select"],
        exposures,
        cache=cache,
        margin_px=paths["overlap"]["margin_px"],
    )


def is_simulated(config):
    """Whether the images are those of the built-in demo."""
    section = config["repository"]
    is_demo = config["exposures"] == demo_table(config, "exposures")
    return is_demo and not (_path(section["calexp"]) or _path(section["coadd"]))


def _replaced_tables(config):
    """The tables in whose place a repository stands.

    Raises
    ------
    TableError
        If a table is given besides, or exposures are neither in a table nor in a repository.
    """
    section = config["repository"]
    calexp, coadd = _path(section["calexp"]), _path(section["coadd"])
    nothing = {key: ("", demo_table(config, key)) for key in ("exposures", "coadds")}
    own = {key: config[key] not in tables for key, tables in nothing.items()}
    if calexp and own["exposures"]:
        msg = f"exposures are given twice, in {config['exposures']} and repository.calexp: give one"
        raise TableError(msg)
    if coadd and own["coadds"]:
        msg = f"coadds are given twice, in {config['coadds']} and repository.coadd: give one"
        raise TableError(msg)
    if coadd and not calexp and not own["exposures"]:
        msg = "repository.coadd has coadds only: give repository.calexp, or a table of exposures"
        raise TableError(msg)
    replaced = ["exposures"] if calexp else []
    return [*replaced, "coadds"] if coadd or (calexp and not own["coadds"]) else replaced


def _located_repository(section, folders):
    """The section with absolute paths."""
    keys = ("calexp", "coadd", "tracts_mapping")
    places = {key: _path(section[key]) for key in keys}
    found = {
        key: _found(path, f"repository.{key}", folders) if path else None
        for key, path in places.items()
    }
    return {**section, **found}


def _path(text):
    """A path of the configuration, None for null; on the command line that arrives as text."""
    return None if text in (None, "", "null", "~") else text


def demo_table(config, name):
    """Path of a table of the simulated survey: exposures, coadds or truth."""
    return f"{config['simulate']['outdir']}/{name}.csv"


def _found(name, key, folders):
    """Absolute path of a file, in the first of the folders that has it."""
    places = [Path(folder).resolve() for folder in folders]
    for place in places:
        if (place / name).exists():
            return str(place / name)
    where = ", ".join(dict.fromkeys(str(place) for place in places))
    msg = f"{key}: {name} does not exist in {where}: correct it in the configuration"
    raise TableError(msg)


def _refuse_braces(rows):
    """Snakemake has no way to tell a brace in a file's name from a wildcard."""
    for row in rows:
        for path in (row.path, row.psf, row.weight, row.mask):
            if path and ("{" in path or "}" in path):
                msg = f"{path}: Snakemake takes braces for wildcards; rename the file or folder"
                raise TableError(msg)


def simulation_options(options):
    """Keyword arguments of `simulate_survey` from the configuration's section."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if key != "outdir"
    }


def _demo(options):
    """Rows and footprints of the simulated survey, from the cache or from its plan."""
    from skydelta.io.footprints import Footprint, code_digest, load_cache, store_cache

    key = code_digest() + json.dumps(options, sort_keys=True) + _simulator_code()
    store = CACHE / "demo.json"
    plan = load_cache(store, key)
    if plan is None:
        plan = _plan(options)
        store_cache(store, key, plan)
    outdir = Path(options["outdir"])
    exposures = [
        ExposureRow(visit, detector, band, str(outdir / path))
        for visit, detector, band, path in plan["exposures"]
    ]
    coadds = [
        CoaddRow(tract, tuple(patch), band, str(outdir / path))
        for tract, patch, band, path in plan["coadds"]
    ]
    footprints = {
        str(outdir / path): Footprint(tuple(map(tuple, outline)), scale)
        for path, (outline, scale) in plan["footprints"].items()
    }
    return exposures, coadds, footprints


def _simulator_code():
    from skydelta.fingerprint import fingerprint

    return fingerprint(Path(__file__).parent / "simulate" / "survey.py", CACHE / "code.json")


def _plan(options):
    import inspect

    from skydelta.io.footprints import footprint_of
    from skydelta.simulate.survey import plan_survey

    known = inspect.signature(plan_survey).parameters
    chosen = {k: v for k, v in simulation_options(options).items() if k in known}
    plan = plan_survey(**chosen)
    footprints = {path: footprint_of(*grid) for path, grid in plan.grids().items()}
    return {
        "exposures": plan.exposures(),
        "coadds": plan.coadds(),
        "footprints": {path: (f.outline, f.pixel_scale) for path, f in footprints.items()},
    }
