"""The configuration outside of Snakemake: shipped file, a user's file over it, schema defaults."""

from copy import deepcopy
from functools import cache
from pathlib import Path

from skydelta.errors import SkydeltaError

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the Snakefile, its configuration and schemas."""


class ConfigError(SkydeltaError):
    """A configuration that cannot be read or that the schema does not allow."""

    status = "bad_config"
    exit_status = 2


def load_config(path=None):
    """The whole configuration as the workflow would have it.

    Parameters
    ----------
    path
        A YAML file laid over the shipped config/config.yaml, as by ``snakemake --configfile``;
        None for the shipped one alone.

    Raises
    ------
    ConfigError
        If it cannot be read or is not valid.
    """
    config = read_yaml(ROOT / "config" / "config.yaml")
    if path is not None:
        config = merged(config, read_yaml(path))
    return completed(config, path or "config/config.yaml")


def read_yaml(path):
    """The mapping in a YAML file; an empty file is an empty one.

    Raises
    ------
    ConfigError
        If it cannot be read or is no mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path} is not YAML: {' '.join(str(error).split())}"
        raise ConfigError(msg) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        msg = f"{path} must hold keys and values, not a {type(content).__name__}"
        raise ConfigError(msg)
    return content


def merged(config, changes):
    """A copy of nested mappings with those of `changes` laid over them; lists are replaced."""
    out = deepcopy(config)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = deepcopy(value)
    return out


def completed(config, name="the configuration"):
    """A validated copy with the schema's default for every key that is not given.

    Parameters
    ----------
    config
        Nested mappings, as from YAML.
    name
        What an error calls it.

    Raises
    ------
    ConfigError
        That names the key, what it holds and what is allowed.
    """
    from jsonschema.exceptions import ValidationError, best_match

    out = deepcopy(config)
    error = best_match(_filling_validator().iter_errors(out))
    if isinstance(error, ValidationError):
        where = ".".join(map(str, error.absolute_path))
        msg = f"{name}: {where + ': ' if where else ''}{error.message}"
        raise ConfigError(msg)
    return out


@cache
def _filling_validator():
    """A validator of the configuration's schema that fills in defaults as it goes."""
    from jsonschema import Draft202012Validator, validators

    checked = Draft202012Validator.VALIDATORS["properties"]

    def filled(validator, properties, instance, schema):
        if isinstance(instance, dict):
            for key, each in properties.items():
                if "default" in each:
                    instance.setdefault(key, deepcopy(each["default"]))
        yield from checked(validator, properties, instance, schema)

    filling = validators.extend(Draft202012Validator, {"properties": filled})
    return filling(read_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml"))
