"""Photometric calibration over a box of parent pixels, as LSST files hold it."""

from dataclasses import dataclass
from typing import Any

from skydelta.field import Field
from skydelta.lsst.bounded_field import ChebyshevBoundedField, field_on
from skydelta.photocalib import PhotoCalib


@dataclass(frozen=True)
class BoundedPhotoCalib:
    """Counts to nJy (afw: image/PhotoCalib.cc).

    Parameters
    ----------
    mean, error
        nJy per count, and its standard error.
    field
        Bounded field of nJy per count in parent pixels; None where the calibration is constant.
    """

    mean: float
    error: float = 0.0
    field: Any = None

    @classmethod
    def of(cls, calib, bbox):
        """A PhotoCalib of an image with that bbox in its parent.

        Raises
        ------
        ValueError
            If the scale varies by B-splines, which afw does not know.
        """
        if calib.field is None:
            return cls(calib.scale, calib.scale_err)
        if calib.field.kind != "chebyshev":
            msg = f"a photometric scale of kind {calib.field.kind} cannot be written for afw"
            raise ValueError(msg)
        coefficients = calib.field.coefficients * calib.scale
        return cls(calib.scale, calib.scale_err, ChebyshevBoundedField(coefficients, bbox))

    def on(self, bbox):
        """As a PhotoCalib of an image with that bbox (inclusive, parent pixels)."""
        if self.field is None:
            return PhotoCalib(self.mean, self.error)
        if isinstance(self.field, ChebyshevBoundedField) and tuple(self.field.bbox) == bbox:
            shape = bbox[3] - bbox[1] + 1, bbox[2] - bbox[0] + 1
            variation = Field(self.field.coefficients / self.mean, shape)
        else:
            variation = field_on(self.field, bbox, 1.0 / self.mean)
        return PhotoCalib(self.mean, self.error, variation)
