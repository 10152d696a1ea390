"""The command ``skydelta``: helpers around the workflow."""

import argparse
import sys

from skydelta import __version__
from skydelta.errors import SkydeltaError


def main(argv=None):
    """Run the command; the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except SkydeltaError as error:
        print(f"skydelta: {error}", file=sys.stderr)
        return 1
    return 0


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
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
