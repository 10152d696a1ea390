"""LSST source catalogues (afw tables: src, diaSrc, deepCoadd_meas, forced_src) without the stack.

HDU 1 of such a file is the table. All its flags are bits of one column, named by the cards TFLAG1,
TFLAG2 ... (FLAGCOL is that column's number); ALIAS cards give prefixes of column names other names,
among them the slots: ``slot_PsfFlux:base_PsfFlux``. Positions are radians. The HDUs behind (the
footprints) are not read. Source: afw FitsWriter.cc, FitsSchemaInputMapper.cc.
"""

from skydelta.io.afw_catalogue.names import column, resolve_alias
from skydelta.io.afw_catalogue.reader import read_afw_catalogue
from skydelta.io.afw_catalogue.writer import write_afw_catalogue

__all__ = ["column", "read_afw_catalogue", "resolve_alias", "write_afw_catalogue"]
