"""Files of lsst.afw, read and written without the LSST stack.

An exposure is IMAGE, MASK and VARIANCE (found by EXTTYPE), followed by an archive of tables that
holds its PSF, WCS, calibration and more: `archive` reads it, `output_archive` writes it, and
`persistables` names the functions that turn the rows of one class into an object and back.
"""
