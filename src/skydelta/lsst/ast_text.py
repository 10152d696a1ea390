"""Mappings in the text form of the AST library (Starlink), in which LSST files hold their WCS.

AST is the library that lsst.afw evaluates every WCS with, here through starlink-pyast. Its objects
cannot be copied or pickled: value objects keep the text and ask here for the mapping.
"""

from skydelta.errors import CorruptFileError


def read_object(text):
    """The AST object that a text describes.

    Raises
    ------
    CorruptFileError
        If it describes none.
    """
    from starlink import Ast

    try:
        found = Ast.Channel(_Lines(text.splitlines())).read()
    except Ast.AstError as error:
        msg = f"the AST text of a mapping cannot be read ({str(error).strip().splitlines()[0]})"
        raise CorruptFileError(msg) from error
    if found is None:
        msg = "the AST text of a mapping holds no object"
        raise CorruptFileError(msg)
    return found


def text_of(thing):
    """The text of an AST object, without comments and values that are AST's defaults."""
    from starlink import Ast

    sink = _Lines()
    Ast.Channel(None, sink, "Full=-1,Comment=0").write(thing)
    return "\n".join(sink.lines) + "\n"


class _Lines:
    """A list of lines as AST's channels want them."""

    def __init__(self, lines=()):
        self.lines = list(lines)
        self._unread = iter(self.lines)

    def astsource(self):
        return next(self._unread, None)

    def astsink(self, line):
        self.lines.append(line)
