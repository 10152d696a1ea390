"""Mappings of pixels that LSST files hold as AST objects."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import CorruptFileError, UnsupportedError


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
    UnsupportedError
        On use, if starlink-pyast is not installed.
    CorruptFileError
        On use, if the text is not that of a mapping.
    """

    text: str

    @cached_property
    def _mapping(self):
        try:
            from starlink import Ast
        except ImportError as error:
            msg = f"a TransformPoint2ToPoint2 needs the package starlink-pyast ({error})"
            raise UnsupportedError(msg) from error
        start = self.text.find("Begin")
        mapping = Ast.Channel(self.text[max(start, 0) :].splitlines()).read()
        if not isinstance(mapping, Ast.Mapping):
            msg = f"a TransformPoint2ToPoint2 holds no AST mapping but {self.text[:40]!r}"
            raise CorruptFileError(msg)
        return mapping

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
