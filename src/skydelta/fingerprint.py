"""A content hash of the code that a stage runs, so that Snakemake sees edits inside the package."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def fingerprint(script, store=None):
    """Hash of every module of the package that a script imports, directly or through others.

    Imports inside functions count; layout and comments do not, since the syntax tree is hashed.
    Files of the folder ``data`` count where a module has their name as a string.

    Parameters
    ----------
    script
        Path of a Python file.
    store
        File that keeps what is known of each module until it changes: parsing all of them takes
        a second at every start. None keeps nothing.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    book = _Book.of(store)
    digest = hashlib.sha256()
    for module in sorted(_closure(_imports(_parsed(Path(script))), book)):
        facts = book.facts(module)
        digest.update(f"{module} {facts['digest']}".encode())
        for name in facts["data"]:
            digest.update((_ROOT / "data" / name).read_bytes())
    book.keep()
    return digest.hexdigest()[:16]


def modules_of(script):
    """Names of the package's modules that a script runs, sorted."""
    return sorted(_closure(_imports(_parsed(Path(script))), _Book.of(None)))


class _Book:
    """What is known of each module: hash of its syntax tree, imports, data files.

    An entry holds as long as the date and size of its module do.
    """

    def __init__(self, store):
        self._store = store
        self._entries = (_load(store) if store is not None else None) or {}
        self._has_news = False

    @classmethod
    @cache
    def of(cls, store):
        """The book of a file; one for each in a process."""
        return cls(store)

    def facts(self, module):
        """{digest, imports, data} of a module."""
        path = _file(module)
        stat = path.stat()
        stamp = [str(path), stat.st_mtime_ns, stat.st_size]
        entry = self._entries.get(module)
        if entry is None or entry["stamp"] != stamp:
            tree = _parsed(path)
            entry = self._entries[module] = {
                "stamp": stamp,
                "digest": hashlib.sha256(ast.dump(tree).encode()).hexdigest(),
                "imports": sorted(_imports(tree)),
                "data": _data_files(tree),
            }
            self._has_news = True
        return entry

    def keep(self):
        """Write what is new to the file."""
        if self._store is not None and self._has_news:
            from skydelta.io.footprints import store_cache

            store_cache(self._store, _key(), self._entries)
            self._has_news = False


def _load(store):
    from skydelta.io.footprints import load_cache

    return load_cache(store, _key())


@cache
def _key():
    """What entries depend on besides their module: Python's syntax tree, and this file."""
    return sys.version + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _closure(modules, book):
    found, todo = set(), list(modules)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += book.facts(module)["imports"]
    return found


def _parsed(path):
    return ast.parse(path.read_text())


def _data_files(tree):
    """Names of the files of the package's data that a module names, sorted."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(path.name for path in _ROOT.glob("data/*") if path.name in texts)


def _file(module):
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree):
    """Modules of this package that a file imports."""
    found = set()
    for node in ast.walk(tree):
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
