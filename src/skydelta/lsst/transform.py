"""Mappings of pixels that LSST files hold as AST objects."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class TransformPoint2ToPoint2:
    """A mapping of the plane (afw: Transform.cc).

    Parameters
    ----------
    text
        AST's native text of the mapping, with or without the version and class name that afw puts
        before it.

    Raises
    ------
    CorruptFileError
        On use, if the text is not that of a mapping.
    """

    text: str

    @cached_property
    def _mapping(self):
        from skydelta.errors import CorruptFileError
        from skydelta.lsst.ast_text import read_object

        mapping = read_object(self.text[max(self.text.find("Begin"), 0) :])
        if (getattr(mapping, "Nin", 0), getattr(mapping, "Nout", 0)) != (2, 2):
            msg = f"a TransformPoint2ToPoint2 holds an AST {mapping.Class}, no mapping of a plane"
            raise CorruptFileError(msg)
        return mapping

    def __getstate__(self):
        return {"text": self.text}  # AST's objects cannot be pickled

    def forward(self, x, y):
        """Target positions of source positions; NaN where there are none."""
        return self._map(x, y, forward=True)

    def inverse(self, x, y):
        """Source positions of target positions; NaN where there are none."""
        return self._map(x, y, forward=False)

    def _map(self, x, y, *, forward):
        points = np.stack([np.ravel(x), np.ravel(y)]).astype(float)
        u, v = self._mapping.tran(points, forward)
        bad = ~(np.abs(u) < 1e300) | ~(np.abs(v) < 1e300)  # AST's value for "none" is -1.8e308
        return np.where(bad, np.nan, u), np.where(bad, np.nan, v)
