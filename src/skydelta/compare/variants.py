"""The methods that can be compared: what each of them sets in the configuration."""

from dataclasses import dataclass
from difflib import get_close_matches

from skydelta.configuration import ConfigError, completed, merged, read_yaml
from skydelta.errors import SkydeltaError

SECTIONS = ("subtract", "decorrelate")
"""Sections of the configuration that a variant may change."""

BUILT_IN = {
    "alard_lupton": {"subtract": {"method": "alard_lupton"}},
    "alard_lupton:delta": {"subtract": {"method": "alard_lupton", "basis": {"kind": "delta"}}},
    "alard_lupton:science": {"subtract": {"method": "alard_lupton", "convolve": "science"}},
    "alard_lupton:auto": {"subtract": {"method": "alard_lupton", "convolve": "auto"}},
    "alard_lupton:preconvolve": {"subtract": {"method": "alard_lupton", "preconvolve": "psf"}},
    "zogy": {"subtract": {"method": "zogy", "zogy": {"image_space": False}}},
    "zogy:image_space": {"subtract": {"method": "zogy", "zogy": {"image_space": True}}},
    "sfft": {"subtract": {"method": "sfft"}},
    "hotpants": {"subtract": {"method": "hotpants"}},
}
"""Methods by name, each with what it sets; everything else is as configured."""

DEFAULT = ("alard_lupton", "zogy", "sfft", "hotpants")


class UsageError(SkydeltaError):
    """A command that cannot be carried out as it was given."""

    status = "usage"
    exit_status = 2


@dataclass(frozen=True)
class Variant:
    """A method to compare.

    Parameters
    ----------
    name
        As it is listed.
    changes
        What it sets, nested as in the configuration.
    config
        The whole configuration with these changes.
    """

    name: str
    changes: dict
    config: dict

    @property
    def file_name(self):
        """Its name as part of a file's name."""
        return "".join(c if c.isalnum() or c in "_+-." else "_" for c in self.name)


def chosen_variants(config, names=None, path=None):
    """The variants to run, in the order they are named.

    Parameters
    ----------
    config
        The whole configuration.
    names
        Of built-in variants or of those of the file, by default `DEFAULT`. All of the file's are
        added if none of them is named.
    path
        YAML file of further variants: {name: {subtract: {...}, decorrelate: {...}}}; or None.

    Returns
    -------
    list of Variant

    Raises
    ------
    UsageError
        For a name that is not known.
    ConfigError
        For a file with options that do not exist.
    """
    own = read_variants(path) if path is not None else {}
    known = BUILT_IN | own
    names = list(dict.fromkeys(names or DEFAULT))
    if not any(name in own for name in names):
        names += own
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            msg = f"unknown method {name!r}{hint}: one of {', '.join(known)}"
            raise UsageError(msg)
    where = f"{path}, " if path is not None else ""
    variants = [
        Variant(name, known[name], completed(merged(config, known[name]), f"{where}{name}"))
        for name in names
    ]
    _refuse_equal_files(variants)
    return variants


def _refuse_equal_files(variants):
    seen = {}
    for variant in variants:
        other = seen.setdefault(variant.file_name.lower(), variant)
        if other is not variant:
            msg = f"{other.name!r} and {variant.name!r} give the same file names: rename one"
            raise UsageError(msg)


def read_variants(path):
    """Variants of a YAML file by name.

    Raises
    ------
    ConfigError
        If it is none, or changes another section than `SECTIONS`.
    """
    content = read_yaml(path)
    for name, changes in content.items():
        what = f"{path}: variant {name!r}"
        if not isinstance(name, str) or not name.strip():
            msg = f"{what}: the name must be text"
            raise ConfigError(msg)
        if not isinstance(changes, dict):
            msg = f"{what} must hold sections ({' or '.join(SECTIONS)}) with options"
            raise ConfigError(msg)
        other = [key for key in changes if key not in SECTIONS]
        if other:
            msg = f"{what}: {other[0]!r} is none of the sections {', '.join(SECTIONS)}"
            raise ConfigError(msg)
    if not content:
        msg = f"{path} holds no variant"
        raise ConfigError(msg)
    return content
