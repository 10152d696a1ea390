"""Texts that Snakemake passes on to the jobs of a cluster, and what a shell makes of them.

It writes input files, the working directory and ``--config`` into a job's shell script in Python's
quotes (``repr``), which are not those of the shell: with an apostrophe in the text they become
double quotes, in which the shell replaces ``$`` and backticks, and Python's backslashes mean
something else to it. A file's name in a table could so become a command.
"""

from skydelta.errors import BadNameError


def refuse_unquotable(texts):
    """Raise unless a shell reads every text in Python's quotes as it is.

    Parameters
    ----------
    texts
        Files, folders, ``key=value`` of the configuration.

    Raises
    ------
    BadNameError
    """
    for text in texts:
        if not _is_literal(repr(text)):
            msg = (
                f"the shell of a cluster's jobs would not take {text} literally: rename the file "
                "or folder, without apostrophe and backslash"
            )
            raise BadNameError(msg)


def _is_literal(quoted):
    """Whether a shell and Python read a quoted text alike."""
    special = "\\" if quoted.startswith("'") else '\\$`!"'
    return not any(character in quoted[1:-1] for character in special)
