"""FITS files read for their sums alone: block by block, no pixels kept, no header parsed twice.

DATASUM is the one's complement sum of the 32-bit big-endian words of a data unit, that is, their
sum modulo 2**32 - 1; CHECKSUM makes the sum of the whole HDU come out as zero (FITS standard 4.0,
appendix J).
"""

import re
from dataclasses import dataclass

import numpy as np

from skydelta.errors import CorruptFileError

BLOCK = 2880
"""Bytes that headers and data come in multiples of."""

_CHUNK = 364 * BLOCK
_MODULUS = 2**32 - 1
_CARD = re.compile(rb"([A-Z0-9_-]{1,8}) *= *('(?:[^']|'')*'|[^/ ]+)")


@dataclass(frozen=True)
class HduSums:
    """What a pass over an HDU found.

    Parameters
    ----------
    cards
        Its header's values by keyword: str without quotes, or text as it stands.
    has_sums
        Whether it carries DATASUM and CHECKSUM.
    """

    cards: dict
    has_sums: bool

    @property
    def name(self):
        """EXTNAME, or PRIMARY."""
        return self.cards.get("EXTNAME", "PRIMARY")

    @property
    def rows(self):
        """Number of rows of a table; None for an image."""
        is_table = self.cards.get("XTENSION") in ("BINTABLE", "TABLE")
        return int(self.cards["NAXIS2"]) if is_table else None


def read_sums(path, *, data=True):
    """Every HDU of a FITS file, its sums compared with its cards.

    Parameters
    ----------
    path
        The file.
    data
        Whether to read the data; without, only headers and the file's length are judged.

    Returns
    -------
    list of HduSums

    Raises
    ------
    CorruptFileError
        If the file ends early or late, is not FITS, lacks an HDU (NEXTEND), or a sum differs.
    """
    found = []
    with open(path, "rb", buffering=0) as stream:
        length = stream.seek(0, 2)
        stream.seek(0)
        while stream.tell() < length:
            found.append(_hdu(stream, length, f"HDU {len(found)}", data))
    if not found:
        raise CorruptFileError("the file is empty")
    written = found[0].cards.get("NEXTEND")
    if written not in (None, str(len(found) - 1)):
        raise CorruptFileError(f"it has {len(found) - 1} of {written} extensions")
    return found


def _hdu(stream, length, place, data):
    header = _header(stream, place)
    cards = _cards(header)
    if stream.tell() == len(header) and cards.get("SIMPLE") != "T":
        raise CorruptFileError("it does not begin as a FITS file does")
    size = _data_size(cards, place)
    if stream.tell() + size > length:
        missing = stream.tell() + size - length
        raise CorruptFileError(f"{place} ({cards.get('EXTNAME', 'PRIMARY')}) lacks {missing} bytes")
    has_sums = "DATASUM" in cards and "CHECKSUM" in cards
    if not (data and has_sums):
        stream.seek(size, 1)
        return HduSums(cards, has_sums)
    total = _sum(stream, size)
    if cards["DATASUM"] not in (str(total), str(total or _MODULUS)):
        raise CorruptFileError(f"{place} ({cards.get('EXTNAME', 'PRIMARY')}): DATASUM is wrong")
    if (total + _words(header)) % _MODULUS:
        raise CorruptFileError(f"{place} ({cards.get('EXTNAME', 'PRIMARY')}): CHECKSUM is wrong")
    return HduSums(cards, has_sums)


def _header(stream, place):
    blocks = []
    while True:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise CorruptFileError(f"the file ends within the header of {place}")
        blocks.append(block)
        if any(block[k : k + 8] == b"END     " for k in range(0, BLOCK, 80)):
            return b"".join(blocks)
        if len(blocks) == 1 and not block.startswith((b"SIMPLE  =", b"XTENSION=")):
            raise CorruptFileError(f"{place} does not begin as one")


def _cards(header):
    cards = {}
    for k in range(0, len(header), 80):
        match = _CARD.match(header, k, k + 80)
        if match:
            value = match[2].decode("ascii", "replace")
            if value.startswith("'"):
                value = value[1:-1].replace("''", "'").rstrip()
            cards.setdefault(match[1].decode(), value)
    return cards


def _data_size(cards, place):
    """Bytes of the data unit, padding included."""
    try:
        n_axes = int(cards["NAXIS"])
        axes = [int(cards[f"NAXIS{k}"]) for k in range(1, n_axes + 1)]
        values = int(np.prod(axes, dtype=object)) if axes else 0
        groups, heap = int(cards.get("GCOUNT", 1)), int(cards.get("PCOUNT", 0))
        size = abs(int(cards["BITPIX"])) // 8 * groups * (heap + values)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{place}: its size is not in its header ({error})") from error
    return -(-size // BLOCK) * BLOCK


def _sum(stream, size):
    buffer, total = bytearray(min(size, _CHUNK)), 0
    view = memoryview(buffer)
    while size:
        n = stream.readinto(view[:size] if size < len(buffer) else view)
        if not n or n % 4:
            raise CorruptFileError("the file cannot be read to its end")
        total += _words(view[:n])
        size -= n
    return total % _MODULUS


def _words(buffer):
    return int(np.frombuffer(buffer, ">u4").sum(dtype=np.uint64)) % _MODULUS
