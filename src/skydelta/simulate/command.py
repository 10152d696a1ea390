"""``skydelta simulate``: a made-up survey whose truth is known, to try things out on."""

from pathlib import Path

from skydelta.errors import InputError
from skydelta.lsst.camera import N_DETECTORS

_OPTIONS = ("n_visits", "detectors", "bands", "shape", "seed")


def simulate(arguments):
    """Write a survey; the lines to print.

    Parameters
    ----------
    arguments
        With outdir, format (``"native"`` or ``"lsst"``), native, and n_visits, detectors, bands,
        shape and seed, each None for its default.

    Raises
    ------
    InputError
        If a folder is not empty, or the options make no survey.
    """
    options = {key: getattr(arguments, key) for key in _OPTIONS}
    options = {key: value for key, value in options.items() if value is not None}
    options |= {"shape": tuple(options["shape"])} if "shape" in options else {}
    _check(options, arguments)
    outdir = _new_folder(arguments.outdir)
    if arguments.format == "native":
        from skydelta.simulate.survey import simulate_survey

        paths = simulate_survey(outdir, **options)
        tables = f"exposures={paths.exposures} coadds={paths.coadds} truth={paths.truth}"
        return [*map(str, (paths.exposures, paths.coadds, paths.truth)), _try(tables)]
    from skydelta.simulate.lsst import simulate_lsst_survey

    native = None if arguments.native is None else _new_folder(arguments.native)
    survey = simulate_lsst_survey(outdir, native=native, **options)
    lines = [str(survey.root), str(survey.truth)]
    lines += [] if native is None else [str(native / f"{t}.csv") for t in ("exposures", "coadds")]
    return [*lines, _try(f"repository='{{calexp: {survey.root}}}' truth={survey.truth}")]


def _try(choices):
    return f"try: snakemake --cores 4 --config {choices}"


def _check(options, arguments):
    if arguments.native is not None and arguments.format != "lsst":
        msg = "--native is for --format lsst: the other format is native anyway"
        raise InputError(msg)
    detectors = options.get("detectors", ())
    if len(set(detectors)) != len(detectors) or min(detectors, default=0) < 0:
        msg = f"the detectors {detectors} are not different numbers from 0 on"
        raise InputError(msg)
    if arguments.format == "lsst" and max(detectors, default=0) >= N_DETECTORS:
        msg = (
            f"LSSTCam's science detectors are 0 to {N_DETECTORS - 1}, there is no {max(detectors)}"
        )
        raise InputError(msg)
    bands = options.get("bands", ())
    if len(set(bands)) != len(bands):
        msg = f"the bands {' '.join(bands)} are not all different"
        raise InputError(msg)
    if options.get("seed", 0) < 0:
        msg = f"the seed is {options['seed']}: it must not be negative"
        raise InputError(msg)


def _new_folder(name):
    """A folder that holds nothing yet: images of two surveys would be mixed."""
    folder = Path(name)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        msg = f"{folder} is there already and not an empty folder: name a new one"
        raise InputError(msg)
    return folder
