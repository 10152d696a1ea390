"""Mappings in the text form of the AST library (Starlink), in which LSST files hold their WCS.

AST is the library that lsst.afw evaluates every WCS with, here through starlink-pyast. Its objects
cannot be copied or pickled: value objects keep the text and ask here for the mapping.
"""

import re

from skydelta.errors import CorruptFileError


def read_object(text):
    """The AST object that a text describes.

    Raises
    ------
    CorruptFileError
        If it describes none.
    """
    from starlink import Ast

    _check_parts(text)
    try:
        found = Ast.Channel(_Lines(text.splitlines())).read()
        again = _Lines()
        if found is not None:
            Ast.Channel(None, again, "Full=1,Comment=0").write(found)
    except (Ast.AstError, TypeError) as error:  # TypeError: characters that are not ASCII
        msg = f"the AST text of a mapping cannot be read ({str(error).strip().splitlines()[0]})"
        raise CorruptFileError(msg) from error
    # AST passes over what it does not know, and may then lack what it needs.
    unknown = _keys(text.splitlines()) - _keys(line.replace("#", " ", 1) for line in again.lines)
    if found is None or unknown:
        what = f"AST does not know {', '.join(sorted(unknown))}" if unknown else "no object"
        msg = f"the AST text of a mapping is damaged: {what}"
        raise CorruptFileError(msg)
    return found


_LINE = re.compile(
    r"""\s*(
        \#.* | (Begin|End)\ \w+ | IsA\ (Object|Mapping|Frame|Axis)
        | (?P<key>[A-Z]\w*)\ =(\ (?P<value>"[^"]*"|<bad>|[-+.\w]+))?
    )?\s*""",
    re.VERBOSE,
)


def _keys(lines):
    """Names of the values in AST's text that are not 0, which AST may leave out."""
    matches = (_LINE.fullmatch(line) for line in lines)
    return {match["key"] for match in matches if match and match["key"] and not _is_zero(match)}


def _is_zero(match):
    return re.fullmatch(r"[-+]?0*\.?0*", match["value"] or "x") is not None


def text_of(thing):
    """The text of an AST object, without comments and values that are AST's defaults."""
    from starlink import Ast

    sink = _Lines()
    Ast.Channel(None, sink, "Full=-1,Comment=0").write(thing)
    return "\n".join(sink.lines) + "\n"


_PARTS = {
    "CmpFrame": ("FrameA", "FrameB"),
    "CmpMap": ("MapA", "MapB"),
    "Frame": ("Naxes",),
    "SkyFrame": ("Naxes", "IsA Frame"),
    "TranMap": ("MapA", "MapB"),
    "WcsMap": ("Type",),
}
"""What objects of these classes consist of: without one, AST crashes the process."""


def _check_parts(text):
    """Raise if a compound object of the text lacks one of its parts."""
    open_objects = []
    for line in text.splitlines():
        if _LINE.fullmatch(line) is None:
            msg = f"the AST text of a mapping is damaged: {line.strip()!r}"
            raise CorruptFileError(msg)
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "Begin":
            open_objects.append((words[-1], set()))
        elif words[0] == "End" and open_objects:
            name, parts = open_objects.pop()
            missing = [part for part in _parts_of(name, parts) if part not in parts]
            if missing or name != words[-1]:
                without = ", ".join(missing) or "its end"
                msg = f"the AST text of a mapping is damaged: a {name} without {without}"
                raise CorruptFileError(msg)
        elif words[0] == "IsA" and open_objects:
            open_objects[-1][1].add(f"IsA {words[1]}")
        elif "=" in words and open_objects:
            value = words[-1] if words[0] == "Nframe" else ""
            open_objects[-1][1].add(words[0] + value)


def _parts_of(name, parts):
    """Names of the parts that an object of a class must have."""
    if name != "FrameSet":
        every = ("Nin", "IsA Mapping") if name.endswith("Map") else ()
        return every + _PARTS.get(name, ())
    counts = [part.removeprefix("Nframe") for part in parts if part.startswith("Nframe")]
    count = int(counts[0]) if counts and counts[0].isdigit() else 1
    frames = [f"Frm{number}" for number in range(1, min(count, 99) + 1)]
    return [
        "Nframe" + "".join(counts[:1]),
        *frames,
        *(f"Map{number}" for number in range(2, len(frames) + 1)),
    ]


class _Lines:
    """A list of lines as AST's channels want them."""

    def __init__(self, lines=()):
        self.lines = list(lines)
        self._unread = iter(self.lines)

    def astsource(self):
        return next(self._unread, None)

    def astsink(self, line):
        self.lines.append(line)
