"""Typed failures: each says what happened and what the user can do about it.

Every class carries a short ``status``, the word that ends up in ``results/status/ID.json``. An
error of this family ends one exposure (or one table) with that status; any other exception is a
bug and is allowed to surface as one.
"""


class SkydeltaError(Exception):
    """Base of all failures that a user can act upon."""

    status = "failed"

    def __init__(self, message, **details):
        super().__init__(message)
        self.details = details


class TableError(SkydeltaError):
    """One of the two input tables is malformed; nothing can start."""

    status = "bad_table"


class SlurmError(SkydeltaError):
    """Slurm does not answer."""

    status = "no_slurm"


class BadNameError(SkydeltaError):
    """A name that the shell of a cluster's jobs would take for something else."""

    status = "bad_name"


class RunningJobsError(SkydeltaError):
    """Jobs of an earlier run still write where a new one would."""

    status = "still_running"


class InputError(SkydeltaError):
    """An input file that cannot be used as an exposure or a coadd."""

    status = "bad_input"


class MissingFileError(InputError):
    """A file named in a table does not exist."""

    status = "missing_file"


class CorruptFileError(InputError):
    """A file that cannot be read to its end, or is not FITS."""

    status = "corrupt_file"


class UnsupportedError(InputError):
    """A file that is sound, but holds something this version cannot read."""

    status = "unsupported"


class UntrustedError(InputError):
    """A file that could only be read by running code it holds (a Python pickle)."""

    status = "untrusted"


class NoWcsError(InputError):
    """An image without a celestial WCS."""

    status = "no_wcs"


class BadImageError(InputError):
    """An image without a usable pixel."""

    status = "bad_image"


class BadVarianceError(InputError):
    """A variance plane or weight map that cannot be one."""

    status = "bad_variance"


class BadPsfError(InputError):
    """A PSF that cannot be evaluated: even size, not finite, no positive sum."""

    status = "bad_psf"


class NoPsfError(InputError):
    """No PSF was given and none can be estimated from the image's stars."""

    status = "no_psf"


class BandMismatchError(InputError):
    """The template was taken through another filter."""

    status = "band_mismatch"


class NoPhotoCalibError(InputError):
    """A photometric zero point is missing where one is needed."""

    status = "no_photo_calib"


class BadSkyMapError(InputError):
    """A skymap that is of no known kind, or whose configuration makes no sense."""

    status = "bad_skymap"


class NoSuchPatchError(InputError, IndexError):
    """A tract or patch that the skymap does not have."""

    status = "no_such_patch"


class NoOverlapError(SkydeltaError):
    """No coadd lies under the exposure."""

    status = "no_overlap"


class TooFewStarsError(SkydeltaError):
    """Not enough isolated, unsaturated stars for the matching kernel."""

    status = "too_few_stars"


class BadKernelError(SkydeltaError):
    """The kernel fit did not give a usable kernel."""

    status = "bad_kernel"


class BadSubtractionError(SkydeltaError):
    """The difference image is far from its expected noise."""

    status = "bad_subtraction"
