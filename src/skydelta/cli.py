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
    return parser


def _index(arguments):
    from skydelta.io.index import index_folders, write_tables

    index = index_folders(arguments.folders, arguments.coadds)
    for note in index.notes:
        print(f"note: {note}", file=sys.stderr)
    rows = {"exposures.csv": index.exposures, "coadds.csv": index.coadds}
    for path in write_tables(arguments.output, index):
        print(f"{path}: {len(rows[path.name])} images")


if __name__ == "__main__":
    sys.exit(main())
