"""Files that exist as a whole or not at all: written beside, checked, flushed, then renamed."""

import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path

from skydelta.errors import CorruptFileError

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.part")


@contextmanager
def replacing(path, *, is_product=True):
    """A temporary path beside `path` that takes its name when the block ends without error.

    The temporary file is ``.NAME.PID.part``. What a killed process left of the same product is
    removed first. Before a product takes its name it is checked (`skydelta.io.checks.check_file`)
    and flushed to the disk, so that a crash of the machine cannot leave half of it.

    Parameters
    ----------
    path
        Destination.
    is_product
        Whether it is worth that care; a cache, which any process may write at any time, is not.

    Raises
    ------
    OSError
        If what was written is not a complete file of its kind. It is no error of the input, so
        the job fails and can be tried again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    if is_product:
        for leftover in leftovers_of(path):
            leftover.unlink(missing_ok=True)
    try:
        yield partial
        if is_product:
            _refuse_damaged(partial, path)
            _flush(partial)
        os.replace(partial, path)
        if is_product:
            _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def product_of(path):
    """The product that a file is a leftover of, or None if it is none."""
    match = _LEFTOVER.fullmatch(path.name)
    return path.with_name(match["name"]) if match else None


def leftovers_of(path):
    """What killed processes left of a product, sorted."""
    beside = f".{path.name}."
    with os.scandir(path.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(beside) and e.name.endswith(".part")]
    return [p for p in map(path.with_name, sorted(names)) if product_of(p) == path]


def _refuse_damaged(partial, path):
    from skydelta.io.checks import check_file

    try:
        check_file(partial, path.suffix)
    except CorruptFileError as error:
        msg = f"{path} did not reach the disk as it was written ({error}): is the disk full or bad?"
        raise OSError(errno.EIO, msg) from error


def _flush(path):
    """Wait until a file's or folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder: it is theirs to keep then.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
