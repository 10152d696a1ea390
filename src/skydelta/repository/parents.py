"""The parents of an LSST gen2 repository: where what it does not hold itself is looked for."""

import os
from pathlib import Path
from urllib.parse import unquote, urlparse

from skydelta.errors import CorruptFileError

CONFIGURATION = "repositoryCfg.yaml"

_LOOP = object()


def parents_of(root):
    """The roots of a repository's own parents, in the order in which they are searched.

    They are named in repositoryCfg.yaml (daf_persistence), or by a link ``_parent``. Whether they
    exist is not looked at.

    Raises
    ------
    CorruptFileError
        If the configuration cannot be understood.
    """
    root = Path(root)
    parents = []
    configuration = root / CONFIGURATION
    if configuration.is_file():
        parents += _configured(configuration)
    link = root / "_parent"
    if link.is_symlink() or link.is_dir():
        parents.append(root / os.readlink(link) if link.is_symlink() else link)
    return list(dict.fromkeys(Path(os.path.normpath(path)) for path in parents))


def data_root(root):
    """The folder of a repository's files: itself, or the one that its configuration names."""
    configuration = Path(root) / CONFIGURATION
    if configuration.is_file():
        named = _read(configuration).get("_root")
        if isinstance(named, str) and named:
            return _place(named, Path(root))
    return Path(root)


def write_configuration(root, mapper):
    """A repositoryCfg.yaml without parents, as daf_persistence reads it.

    Parameters
    ----------
    root
        Folder of the repository.
    mapper
        Dotted name of the camera's mapper.
    """
    from skydelta.io.replacing import replacing

    lines = (
        "!RepositoryCfg_v1",
        f"_mapper: {mapper}",
        "_mapperArgs: {}",
        "_parents: []",
        "_policy: null",
        "_root: null",
        "dirty: true",
    )
    with replacing(Path(root) / CONFIGURATION) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _configured(path):
    """Roots of the parents that a configuration names, by path or by a configuration within."""
    parents = _read(path).get("_parents") or []
    if not isinstance(parents, list):
        parents = [parents]
    found = []
    for parent in parents:
        root = parent.get("_root") if isinstance(parent, dict) else parent
        if not isinstance(root, str) or not root:
            msg = f"{path}: a parent without a path: {parent!r}"
            raise CorruptFileError(msg, path=os.fspath(path))
        found.append(_place(root, path.parent))
    return found


def _place(text, folder):
    """The path of a URI or path, relative ones taken from a folder."""
    url = urlparse(text)
    return folder / (unquote(url.path) if url.scheme == "file" else text)


def _read(path):
    """The mapping of a YAML file whose tags are not looked at: nothing named in it is made."""
    import yaml

    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        content = _plain(node, {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        msg = f"{path} is no configuration of a repository: {' '.join(str(error).split())}"
        raise CorruptFileError(msg, path=os.fspath(path)) from error
    if not isinstance(content, dict):
        msg = f"{path} is no configuration of a repository: it holds no keys"
        raise CorruptFileError(msg, path=os.fspath(path))
    return content


def _plain(node, made):
    """Dicts, lists, text and None of a YAML node; `made` has those of nodes met before."""
    import yaml

    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if id(node) not in made:
        made[id(node)] = _LOOP
        if isinstance(node, yaml.MappingNode):
            value = {str(_plain(k, made)): _plain(v, made) for k, v in node.value}
        else:
            value = [_plain(item, made) for item in node.value]
        made[id(node)] = value
    if made[id(node)] is _LOOP:
        msg = "a node holds itself"
        raise ValueError(msg)
    return made[id(node)]
