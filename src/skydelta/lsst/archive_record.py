"""Objects of an archive that are carried along unread."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveRecord:
    """An object as its rows.

    Parameters
    ----------
    name, module
        LSST's class and Python module.
    catalogs
        ({column: (FITS format, values)}, {flag: bools}) for each of its catalogues.
    references
        For each catalogue {column: objects or Deferred} in place of the archive's numbers.
    """

    name: str
    module: str
    catalogs: tuple
    references: tuple
