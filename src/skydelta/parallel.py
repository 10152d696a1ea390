"""Threads for the tiles and strips of an image.

Transforms and array arithmetic release Python's lock, so tiles run side by side in threads that
share the image. Results come in the order of the tiles whatever the number of threads: the same
input gives the same bytes.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

_threads = 1


def set_threads(count):
    """Let `map_tiles` use so many threads from now on."""
    global _threads
    _threads = max(int(count), 1)


@contextmanager
def threads(count):
    """The same for the body of a with statement."""
    before = _threads
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)


def map_tiles(function, items):
    """Results of a function of each item, in order.

    Parameters
    ----------
    function
        Of one item; what it writes to must be its own.
    items
        Iterable.

    Yields
    ------
    object
        Not more than two rounds of results are held at a time.
    """
    if _threads == 1:
        yield from map(function, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(_threads) as pool:
        waiting = [pool.submit(function, item) for item in islice(items, 2 * _threads)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(function, item) for item in islice(items, 1)]


def map_strips(function, length, step=256):
    """Results, in order, of a function of the first and one past the last row of each strip.

    A strip stays in the processor's cache through all that is done with it, which several passes
    over a whole image do not.

    Parameters
    ----------
    function
        Of (y0, y1); what it writes to must be its own rows.
    length
        Number of rows.
    step
        Rows of a strip.

    Returns
    -------
    list
    """
    return list(
        map_tiles(
            lambda y0: function(y0, min(y0 + step, length)),
            range(0, length, step),
        )
    )
