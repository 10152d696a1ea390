"""The command ``skydelta``: helpers around the workflow."""

import argparse
import sys

from skydelta import __version__
from skydelta.errors import SkydeltaError


def main(argv=None):
    """Run the command; the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except SkydeltaError as error:
        print(f"skydelta: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


def _parser():
    parser = argparse.ArgumentParser(
        prog="skydelta", description="Difference imaging: find what changed in the sky."
    )
    parser.add_argument("--version", action="version", version=f"skydelta {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    index = commands.add_parser(
        "index",
        help="make exposures.csv and coadds.csv from folders of FITS files",
        description="Make the two input tables from folders of FITS files: visit, detector, band, "
        "tract and patch are read from headers and names; weights, masks and PSFs are matched by "
        "name (ooi/oow/ood, *.weight.fits, *.mask.fits, *.psf, *-psfex.fits).",
    )
    index.add_argument("folders", nargs="+", metavar="DIR", help="folder of exposures")
    index.add_argument("-o", "--output", required=True, metavar="OUTDIR", help="for the tables")
    index.add_argument("--coadds", nargs="+", default=[], metavar="DIR", help="folder of coadds")
    index.set_defaults(run=_index)
    imported = commands.add_parser(
        "import-config",
        help="turn a dia_pipe configuration into one of skydelta",
        description="Read a Python configuration of dia_pipe or of LSST's ImageDifferenceTask, "
        "without executing it, and write what it sets as YAML for `snakemake --configfile`. "
        "Options without a counterpart are named, with the reason.",
    )
    imported.add_argument("config", metavar="CONFIG.py", help="file with lines config.x = y")
    imported.add_argument("-o", "--output", metavar="OUT.yaml", help="default: standard output")
    imported.add_argument("--force", action="store_true", help="overwrite OUT.yaml")
    imported.set_defaults(run=_import_config)
    _add_simulate(commands)
    _add_compare(commands)
    _add_verify(commands)
    _add_status(commands)
    _add_retry(commands)
    _add_slurm_jobs(commands)
    return parser


def _add_slurm_jobs(commands):
    """The subcommand ``slurm-jobs``."""
    left = commands.add_parser(
        "slurm-jobs",
        help="jobs of an earlier run that Slurm still has",
        description="List the Slurm jobs that runs in a working directory have submitted and that "
        "still wait or run, wait for their end or cancel them: for a run whose own process died.",
    )
    left.add_argument("directory", nargs="?", default=".", metavar="DIR", help="default: this one")
    choice = left.add_mutually_exclusive_group()
    choice.add_argument("--wait", action="store_true", help="return when none is left")
    choice.add_argument("--cancel", action="store_true", help="cancel them and wait for their end")
    left.set_defaults(run=_slurm_jobs)


def _add_simulate(commands):
    """The subcommand ``simulate``."""
    command = commands.add_parser(
        "simulate",
        help="make a survey whose truth is known, in the native format or as LSST repository",
        description="Simulate a small survey: exposures, coadds, and what changed between them "
        "(truth.csv). In the native format with the workflow's two tables, or as an LSST gen2 "
        "repository: calexp, src, deepCoadd, sky map and tracts_mapping.sqlite3.",
    )
    _simulate_options(command.add_argument)
    command.set_defaults(run=_simulate)


def _add_verify(commands):
    """The subcommand ``verify``."""
    command = commands.add_parser(
        "verify",
        help="check every product of a run",
        description="Open every product under RESULTS: is it whole, are its sums right, do the "
        "numbers of sources agree, is any exposure missing, did a killed job leave anything? "
        "A line for each problem; exit status 1 if there is one.",
    )
    _add_results(command)
    command.add_argument(
        "--quick", action="store_true", help="headers, lengths and numbers of rows only"
    )
    command.add_argument(
        "--delete",
        action="store_true",
        help="delete what is damaged and what was made from it, for `snakemake` to make again",
    )
    command.set_defaults(run=_verify)


def _add_status(commands):
    """The subcommand ``status``."""
    command = commands.add_parser(
        "status",
        help="how far a run is",
        description="How many exposures are done, failed and why, running, queued and waiting, and "
        "the time left. Works from the files of the run, here or on a cluster. Exit status: 0 all "
        "are ok, 1 some failed, 3 not all are done.",
    )
    _add_results(command)
    command.add_argument(
        "--watch", type=_positive, metavar="SECONDS", help="again and again until the run is over"
    )
    command.add_argument("--list", action="store_true", help="also each failed exposure and why")
    command.set_defaults(run=_status)


def _add_retry(commands):
    """The subcommand ``retry``."""
    command = commands.add_parser(
        "retry",
        help="have failed exposures tried again",
        description="Delete the products of failed exposures from the stage that failed on, so "
        "that the next `snakemake` tries them again. What changed since (a file, an option) it "
        "tries again by itself.",
    )
    _add_results(command)
    command.add_argument(
        "--only", nargs="+", default=(), metavar="STATUS", help="only these, such as too_few_stars"
    )
    command.add_argument("-n", "--dry-run", action="store_true", help="say what would be deleted")
    command.set_defaults(run=_retry)


def _add_results(command):
    command.add_argument(
        "results", nargs="?", default="results", metavar="RESULTS", help="default: results"
    )


def _add_compare(commands):
    """The subcommand ``compare``."""
    command = commands.add_parser(
        "compare",
        help="run several subtraction methods on the same exposures",
        description="Run several subtraction methods on the same exposures and write one table "
        "and one page: noise, detections, completeness where the truth is known, fluxes, CPU time "
        "and memory. After `snakemake`, give it the same tables and configuration; none for the "
        "demo.",
    )
    add = command.add_argument
    add("--exposures", metavar="E.csv", help="table of exposures; default: the configuration's")
    add("--coadds", metavar="C.csv", help="table of coadds, where templates have to be made")
    add("--data", metavar="DIR", help="folder that paths in the tables are relative to")
    add(
        "--results",
        metavar="DIR",
        help="products of a run, whose templates are used again; default: results, if it exists",
    )
    add("--config", metavar="FILE", help="configuration, as for `snakemake --configfile`")
    add("--truth", metavar="T.csv", help="table of the true changes, columns as in demo/truth.csv")
    add(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="methods to compare: alard_lupton, zogy, sfft and hotpants by default; also "
        "alard_lupton:delta, :science, :auto, :preconvolve, zogy:image_space, and those of "
        "--variants",
    )
    add("--variants", metavar="FILE", help="YAML of own methods: name: {subtract: {...}}")
    add("--visit", nargs="+", type=int, default=[], metavar="N", help="only these visits")
    add("--detector", nargs="+", type=int, default=[], metavar="N", help="only these detectors")
    add("--band", nargs="+", default=[], metavar="B", help="only these bands")
    add("--jobs", type=_positive, default=1, metavar="N", help="processes at a time; default 1")
    add("--keep", action="store_true", help="keep the difference exposures in OUTDIR/differences")
    add("-o", "--output", default="comparison", metavar="OUTDIR", help="default: comparison")
    command.set_defaults(run=_compare)


def _simulate_options(add):
    """Its options; the module of the command itself is imported only to run it."""
    add("outdir", metavar="OUTDIR", help="folder to write; new or empty")
    add(
        "--format",
        choices=("native", "lsst"),
        default="native",
        help="native: the demo's images and tables; lsst: an LSST gen2 repository where three "
        "tracts meet; default native",
    )
    add("--visits", dest="n_visits", type=_positive, metavar="N", help="epochs, each in all bands")
    add("--detectors", nargs="+", type=int, metavar="N", help="default: 0 1, or 78 79 80 81")
    add("--bands", nargs="+", choices="ugrizy", metavar="B", help="default: r i, or i")
    add("--shape", nargs=2, type=_positive, metavar=("NY", "NX"), help="px of an exposure")
    add("--seed", type=int, metavar="N", help="another seed gives another sky")
    add("--native", metavar="DIR", help="with --format lsst: the same pixels in native files, too")


def _positive(text):
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        msg = f"{value} is less than 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def _index(arguments):
    from skydelta.io.index import index_folders, write_tables

    index = index_folders(arguments.folders, arguments.coadds)
    for note in index.notes:
        print(f"note: {note}", file=sys.stderr)
    rows = {"exposures.csv": index.exposures, "coadds.csv": index.coadds}
    for path in write_tables(arguments.output, index):
        print(f"{path}: {len(rows[path.name])} images")


def _import_config(arguments):
    from skydelta.io.dia_pipe import as_yaml, read_dia_pipe, sentence, write_yaml

    translation = read_dia_pipe(arguments.config)
    text = as_yaml(translation, arguments.config)
    if arguments.output is None:
        print(text, end="")
    else:
        write_yaml(arguments.output, text, arguments.config, overwrite=arguments.force)
    for remark in translation.remarks:
        print(f"note: {sentence(remark)}", file=sys.stderr)
    for remark in translation.left_out:
        print(f"not applied: {sentence(remark)}", file=sys.stderr)


def _slurm_jobs(arguments):
    from skydelta.slurm_jobs import cancel, left_behind, wait

    look = cancel if arguments.cancel else left_behind
    for job in look(arguments.directory):
        print(job)
    if arguments.wait or arguments.cancel:
        wait(arguments.directory)


def _simulate(arguments):
    from skydelta.simulate.command import simulate

    print("\n".join(simulate(arguments)))


def _compare(arguments):
    from pathlib import Path

    from skydelta.compare.command import Request, compare, has_crashed
    from skydelta.compare.survey import Selection

    names = ("exposures", "coadds", "data", "results", "config", "truth", "variants")
    paths = {name: getattr(arguments, name) for name in names}
    request = Request(
        output=Path(arguments.output),
        methods=arguments.methods,
        selection=Selection(arguments.visit, arguments.detector, arguments.band),
        jobs=arguments.jobs,
        keep=arguments.keep,
        **{name: path if path is None else Path(path) for name, path in paths.items()},
    )
    comparisons = compare(request)
    for name in ("comparison.csv", "comparison.html"):
        print(request.output / name)
    return int(has_crashed(comparisons))


def _verify(arguments):
    from skydelta.upkeep.commands import run_verify

    return run_verify(arguments.results, data=not arguments.quick, deleting=arguments.delete)


def _status(arguments):
    from skydelta.upkeep.commands import run_status

    return run_status(arguments.results, watch=arguments.watch, listing=arguments.list)


def _retry(arguments):
    from skydelta.upkeep.commands import run_retry

    return run_retry(arguments.results, arguments.only, dry=arguments.dry_run)


if __name__ == "__main__":
    sys.exit(main())
