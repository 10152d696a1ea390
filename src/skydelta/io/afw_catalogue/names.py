"""Columns of afw catalogues by their slots and by the names older tables had for them."""

from skydelta.errors import InputError

CURRENT_VERSION = 3
"""AFW_TABLE_VERSION of fluxes called ``_instFlux``."""

AFW_CLASS = "afw_class"
"""Key of a column's meta: afw's own word for its type (TCCLS)."""


def resolve_alias(aliases, name):
    """The column a name stands for.

    The longest alias the name begins with is replaced by its target, again and again until none
    fits: ``slot_PsfFlux_instFlux`` becomes ``base_PsfFlux_instFlux``. Source: afw AliasMap.cc.

    Raises
    ------
    InputError
        If the aliases lead in a circle.
    """
    resolved = name
    for _ in range(len(aliases) + 1):
        alias = max((a for a in aliases if resolved.startswith(a)), key=len, default=None)
        if alias is None:
            return resolved
        resolved = aliases[alias] + resolved[len(alias) :]
    msg = f"the aliases of the catalogue lead in a circle from {name!r}"
    raise InputError(msg)


def column(table, name):
    """A column of a catalogue by its own name or an alias.

    Parameters
    ----------
    table
        From `read_afw_catalogue`.
    name
        As today's tables would have it: ``slot_PsfFlux_instFlux`` also finds the ``_flux`` of
        tables of version 1 and 2, ``Err`` also the ``Sigma`` of version 1.

    Raises
    ------
    InputError
        If there is no such column.
    """
    resolved = resolve_alias(table.meta.get("aliases", {}), name)
    for candidate in _spellings(resolved, table.meta.get("afw_version", CURRENT_VERSION)):
        if candidate in table.colnames:
            return table[candidate]
    arrow = f" (which stands for {resolved!r})" if resolved != name else ""
    file = f"{table.meta['file']}: " if "file" in table.meta else ""
    msg = f"{file}the catalogue has no column {name!r}{arrow}"
    raise InputError(msg)


def _spellings(name, version):
    """The name, and what older tables called it."""
    names = [name]
    if version < 3 and "_instFlux" in name:
        names.append(name.replace("_instFlux", "_flux"))
    if version < 2 and name.endswith("Err"):
        names += [spelling[:-3] + "Sigma" for spelling in names]
    if version == 0:
        # Names had points, a flux was called as its algorithm, and errors and flags were apart.
        plain = name.replace("_instFluxErr", "_err").replace("_instFlux", "")
        names += [plain, plain.replace("_flag", "_flags")]
        names += [spelling.replace("_", ".") for spelling in names]
    return names
