"""dia_pipe configurations from files, and their translation as YAML."""

import textwrap
from pathlib import Path

import yaml

from skydelta.dia_pipe import ConfigError, translate


def read_dia_pipe(path):
    """Translate a Python configuration file without executing it.

    Returns
    -------
    skydelta.dia_pipe.Translation

    Raises
    ------
    ConfigError
        If the file cannot be read or understood; the message begins with its name.
    """
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    try:
        return translate(source)
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg, **error.details) from error


def as_yaml(translation, name):
    """The text of a configuration file, what is to be said of it in comments at the end.

    Parameters
    ----------
    translation
        From `read_dia_pipe`.
    name
        Of the file it comes from.
    """
    name = "".join(c if c.isprintable() else "?" for c in str(name))
    lines = [
        f"# From {name} by `skydelta import-config`.",
        "# What that file leaves unset has skydelta's default, not the stack's.",
        yaml.dump(translation.values, Dumper=_Dumper, sort_keys=False, width=100).rstrip(),
    ]
    for title, remarks in (
        ("Applied, or done anyway:", translation.remarks),
        ("Not applied:", translation.left_out),
    ):
        if remarks:
            lines += ["", f"# {title}", *(_comment(sentence(remark)) for remark in remarks)]
    return "\n".join(lines) + "\n"


def sentence(remark):
    """A remark on one line."""
    return f"line {remark.line}: {remark.text}: {remark.reason}"


def _comment(text):
    indents = {"initial_indent": "#   ", "subsequent_indent": "#     "}
    return textwrap.fill(text, 100, **indents, break_long_words=False, break_on_hyphens=False)


def write_yaml(path, text, source, *, overwrite=False):
    """Write a configuration file.

    Parameters
    ----------
    path, text
        Where to and what.
    source
        The file it comes from, which is never overwritten.
    overwrite
        Whether another file of that name may be.

    Raises
    ------
    ConfigError
        If it exists and is not to be overwritten, or cannot be written.
    """
    try:
        if Path(path).exists() and Path(path).samefile(source):
            msg = f"{path} is the configuration to be read: give another name"
            raise ConfigError(msg)
        with open(path, "w" if overwrite else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        msg = f"{path} exists: give another name, or --force to overwrite it"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise ConfigError(msg) from error


class _Dumper(yaml.SafeDumper):
    """Sections as blocks, lists on one line, as in config.yaml."""

    def ignore_aliases(self, data):
        return True


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)
