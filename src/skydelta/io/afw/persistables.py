"""Which function reads and which writes the objects of each class that an archive may hold.

A reader is ``function(archive, number)`` with an InputArchive, a writer ``function(archive,
object)`` with an OutputArchive; the latter returns the number that the object was given.
"""

_CODECS = "skydelta.io.afw"

READERS = {}
"""(module, function) by the class name in the archive's index."""

WRITERS = {}
"""(module, function) by the name of the value object's class."""
