"""Rubin's ``lsst-images`` files (DP2), read with astropy and json alone.

Such a file is FITS: IMAGE, MASK and VARIANCE, tile-compressed, and a table JSON whose first row is
a tree of all the rest (PSF, projection, observation ...); arrays of the tree are further HDUs,
referred to as ``fits:EXTNAME,EXTVER[column]``. Source: lsst-images fits/_output_archive.py.
"""

from skydelta.io.lsst_images.reader import is_lsst_images, read_lsst_images

__all__ = ["is_lsst_images", "read_lsst_images"]
