"""Which exposures and coadds are meant, written as for the LSST stack's ``--id``.

A value is a number or a word, a list of them, or text: ``1..5`` (both ends belong to it),
``1..9:2`` (every second), ``1^3^7`` (one of these).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from skydelta.errors import TableError
from skydelta.tables import parse_patch

_RANGE = re.compile(r"(\d{1,18})(?:\.\.(\d{1,18})(?::(\d{1,9}))?)?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_+-]+")
_NOTHING = ("", "null", "~")
"""Text of YAML's null: on the command line Snakemake makes text of everything that is nested."""

KEYS = ("visit", "detector", "band", "tract", "patch")


@dataclass(frozen=True)
class Choice:
    """The values that one key may have.

    Parameters
    ----------
    ranges
        Of whole numbers.
    words
        Bands, or patches as (x, y).
    """

    ranges: tuple = ()
    words: tuple = ()

    @classmethod
    def of(cls, value):
        """The choice of a single value."""
        if isinstance(value, int):
            return cls(ranges=(range(value, value + 1),))
        return cls(words=(value,))

    def __contains__(self, value):
        return value in self.words or any(value in one for one in self.ranges)

    @property
    def named(self):
        """The values that are named one by one, sorted; those of true ranges are not among them."""
        return sorted({*self.words, *(one.start for one in self.ranges if len(one) == 1)})

    @property
    def is_named(self):
        """Whether every value is named one by one."""
        return all(len(one) == 1 for one in self.ranges)


@dataclass(frozen=True)
class Selection:
    """A Choice for each key, None where every value is meant."""

    visit: Choice | None = None
    detector: Choice | None = None
    band: Choice | None = None
    tract: Choice | None = None
    patch: Choice | None = None

    @classmethod
    def of(cls, **values):
        """The selection of values as they stand in the configuration.

        Raises
        ------
        TableError
            That names the key, for a value that cannot be understood.
        """
        choices = {}
        for key, value in values.items():
            try:
                choices[key] = _choice(key, value)
            except ValueError as error:
                msg = (
                    f"{key} {value!r} cannot be understood ({error}): write a value, a list, "
                    "1..5, 1..9:2 or 1^3^7"
                )
                raise TableError(msg) from error
        return cls(**choices)

    def holds(self, key, value):
        """Whether a value of a key is meant; keys that nothing is chosen for hold all."""
        choice = getattr(self, key, None)
        return choice is None or value in choice

    def named(self, key):
        """The values of a key if all of them are named one by one, else None."""
        choice = getattr(self, key, None)
        return choice.named if choice is not None and choice.is_named else None

    def only(self, *keys):
        """The same with no other keys."""
        return Selection(**{key: getattr(self, key) for key in keys})


def _choice(key, value):
    """The Choice of a value; None for nothing or an empty list."""
    if value is None or value == [] or (isinstance(value, str) and value.strip() in _NOTHING):
        return None
    parse = {"band": _word, "patch": _patch}.get(key, _range)
    parts = [parse(part) for item in _items(key, value) for part in _parts(item)]
    return Choice(**{"words" if key in ("band", "patch") else "ranges": tuple(parts)})


def _items(key, value):
    """The items of a list; anything else, and a pair of numbers as a patch, is one item."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    items = list(value)
    is_pair = key == "patch" and len(items) == 2 and all(_is_number(item) for item in items)
    return [items] if is_pair else items


def _is_number(item):
    return str(item).isascii() and str(item).isdigit()


def _parts(item):
    return item.split("^") if isinstance(item, str) else [item]


def _range(part):
    match = _RANGE.fullmatch(str(part).strip())
    if match is None:
        msg = f"{part!r} is no whole number and no range"
        raise ValueError(msg)
    first, last, step = match.groups()
    first, last, step = int(first), int(last or first), int(step or 1)
    if last < first or step < 1:
        msg = f"{part!r} holds nothing"
        raise ValueError(msg)
    return range(first, last + 1, step)


def _word(part):
    word = str(part).strip()
    if not _WORD.fullmatch(word):
        msg = f"{part!r} is no name of a band"
        raise ValueError(msg)
    return word


def _patch(part):
    if isinstance(part, str):
        return parse_patch(part)
    x, y = part
    return int(x), int(y)
