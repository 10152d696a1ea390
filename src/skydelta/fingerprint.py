"""A content hash of the code that a stage runs, so that Snakemake sees edits inside the package."""

import ast
import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def fingerprint(script):
    """Hash of every module of the package that a script imports, directly or through others.

    Imports inside functions count; layout and comments do not, since the syntax tree is hashed.
    Files of the folder ``data`` count where a module has their name as a string.

    Parameters
    ----------
    script
        Path of a Python file.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for module in sorted(_closure(_imports(Path(script)))):
        digest.update(module.encode())
        digest.update(_dump(module))
    return digest.hexdigest()[:16]


def modules_of(script):
    """Names of the package's modules that a script runs, sorted."""
    return sorted(_closure(_imports(Path(script))))


def _closure(modules):
    found, todo = set(), list(modules)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += _module_imports(module)
    return found


@cache
def _module_imports(module):
    return _imports(_file(module))


@cache
def _dump(module):
    tree = _tree(_file(module))
    return ast.dump(tree).encode() + b"".join(p.read_bytes() for p in _data_files(tree))


def _data_files(tree):
    """Files of the package's data that a module names, sorted."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(path for path in _ROOT.glob("data/*") if path.name in texts)


@cache
def _tree(path):
    return ast.parse(path.read_text())


def _file(module):
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(path):
    """Modules of this package that a file imports."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {_module(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {_module(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {None}


def _module(dotted):
    """The module that a dotted name is or lies in; None for foreign ones."""
    parts = dotted.split(".")
    if parts[0] != _ROOT.name:
        return None
    while len(parts) > 1 and not _file(".".join(parts)).is_file():
        parts.pop()
    # The package itself resolves its names lazily and holds no science.
    return ".".join(parts) if len(parts) > 1 else None
