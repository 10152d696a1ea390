"""What every stage's script has in common: its log, its failures, its provenance."""

import ctypes
import json
import logging
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

from skydelta import __version__
from skydelta.errors import SkydeltaError
from skydelta.parallel import set_threads

log = logging.getLogger(__name__)


@contextmanager
def stage(snakemake):
    """Run a stage's body under Snakemake.

    Records and warnings go to the rule's log. A SkydeltaError ends the stage of one exposure: its
    FITS product becomes a failure marker that later stages pass on, and the job itself succeeds,
    so that no other exposure is held up. In a stage of the whole survey, whose products are no
    FITS files, it fails the job. Anything else is a bug: its traceback goes to the log, and the
    job fails.

    Parameters
    ----------
    snakemake
        The object Snakemake gives a script.
    """
    name = snakemake.rule
    keep_freed_memory()
    set_threads(snakemake.threads)
    with _logging_to(snakemake.log[0], name):
        try:
            yield
        except SkydeltaError as error:
            from skydelta.io.outcome import write_failure

            log.error("%s: %s", error.status, error)
            if not all(str(path).endswith(".fits") for path in snakemake.output):
                raise
            for path in snakemake.output:
                write_failure(path, error, name)
        except BaseException:
            log.exception("uncaught")
            raise


def keep_freed_memory():
    """Let glibc reuse the memory of freed arrays.

    By default it returns every large array to the system and gets new pages, zeroed one by one,
    for the next: a third of the CPU time of a stage on large images. Elsewhere nothing changes.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28)):
        mallopt(parameter, value)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""


@contextmanager
def _logging_to(path, name):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    formatter = logging.Formatter(
        f"%(asctime)sZ %(levelname)s {name} %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    to_file = logging.FileHandler(path, mode="w")
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (to_file, to_stderr):
        handler.setFormatter(formatter)
        root.addHandler(handler)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in (to_file, to_stderr):
            root.removeHandler(handler)
            handler.close()


def provenance(snakemake):
    """Header cards that say where a product came from: stage, version, code, choices, inputs.

    Only names of files are given, not their folders, so that the same input gives the same bytes
    anywhere.

    Returns
    -------
    meta
        {card: (value, comment)}.
    notes
        Sentences for HISTORY.
    """
    name = snakemake.rule
    params = dict(snakemake.params.items())
    meta = {
        "SKYDVER": (__version__, "skydelta version"),
        "SKYDCODE": (str(params.get("code", "")), "hash of the code of this stage"),
    }
    section = json.dumps(params.get("section", {}), sort_keys=True)
    inputs = " ".join(sorted({Path(str(p)).name for p in snakemake.input}))
    return meta, (f"{name} inputs: {inputs}", f"{name} configuration: {section}")


def is_provenance(note):
    """Whether a HISTORY sentence is one of `provenance`, not something that happened."""
    return note.split(":", 1)[0].endswith((" inputs", " configuration"))


def with_provenance(exposure, snakemake):
    """An exposure with this stage's provenance added to its header."""
    meta, notes = provenance(snakemake)
    return exposure.replace(meta={**exposure.meta, **meta}).noted(*notes)


def options(cls, section):
    """A frozen options class from a section of the configuration, lists as tuples."""
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in section.items()})
