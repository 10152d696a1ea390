"""A whole configuration of dia_pipe or of LSST's ImageDifferenceTask as one of skydelta."""

from dataclasses import dataclass, field

from skydelta.dia_pipe.pex_config import UNKNOWN, ConfigError, Remark, parse_pex_config
from skydelta.dia_pipe.reasons import ZOGY_IGNORES, reason_for
from skydelta.dia_pipe.rules import RULES, UNDERSTOOD

_REGISTRIES = {"subtract": "al", "kernel": "AL"}
"""Options that choose among configurations of their own, and what the stack chooses."""


@dataclass
class Translation:
    """A skydelta configuration and what is to be said of it.

    Parameters
    ----------
    values
        Nested sections, as in config.yaml.
    remarks
        Of statements that are applied, or that ask for what skydelta does anyway.
    left_out
        Of statements that are not applied.
    """

    values: dict = field(default_factory=dict)
    remarks: list = field(default_factory=list)
    left_out: list = field(default_factory=list)

    def put(self, key, value):
        """Set a dotted key."""
        *sections, name = key.split(".")
        at = self.values
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value

    def get(self, key, default=None):
        """The value of a dotted key."""
        at = self.values
        for name in key.split("."):
            if name not in at:
                return default
            at = at[name]
        return at

    def remark(self, setting, reason):
        """Say something of a setting that is applied."""
        self.remarks.append(Remark(setting.line, setting.text, reason))

    def leave(self, setting, reason):
        """Name a setting that is not applied."""
        self.left_out.append(Remark(setting.line, setting.text, reason))


def translate(source):
    """A dia_pipe or ImageDifferenceTask configuration as a skydelta one.

    Parameters
    ----------
    source
        Text or bytes of the Python file. It is not executed.

    Returns
    -------
    Translation

    Raises
    ------
    ConfigError
        If the file is not Python, gives an option that is understood a value that is no literal
        or of a wrong type, or describes a kernel that the stack refuses.
    """
    parsed = parse_pex_config(source)
    out = Translation(left_out=list(parsed.others))
    known, others = _in_use(parsed.settings, out)
    for setting in known.values():
        if setting.value is UNKNOWN:
            msg = (
                f"line {setting.line}: {setting.text}: the value is not a literal, and nothing of "
                "the file is executed: write the value itself"
            )
            raise ConfigError(msg, line=setting.line)
    for rule in RULES:
        given = {name: known[name] for name in rule.options if name in known}
        if given:
            rule.apply(given, out)
    for name, setting in others:
        reason = reason_for(name, setting.value, UNDERSTOOD)
        say = out.remark if reason.same else out.leave
        say(setting, reason.text)
    out.remarks.sort(key=lambda remark: remark.line)
    out.left_out.sort(key=lambda remark: remark.line)
    return out


def _in_use(settings, out):
    """Settings of the algorithm and kernel chosen; the others are left out.

    Returns
    -------
    known : dict
        {option: its last setting} of those that have a rule.
    others : list
        (option, setting) of those that have none.
    """
    chosen = dict(_REGISTRIES)
    placed = []
    for setting in settings:
        name, branch = _place(setting.option, chosen)
        if setting.plain and name in chosen and branch.get("subtract", "al") == "al":
            chosen[name] = setting.value
        placed.append((name, branch, setting))
    known, others = {}, {}
    for name, branch, setting in placed:
        why_not = _not_in_use(name, branch, chosen)
        if why_not:
            out.leave(setting, why_not)
        elif name in UNDERSTOOD and not setting.plain:
            out.leave(setting, "its value is known only when executed: assign a literal")
        elif name in UNDERSTOOD:
            known[name] = setting
        else:
            # Changes in place and calls add to an assignment, they do not take its place.
            others[name, setting.line if not setting.plain else None] = name, setting
    return known, list(others.values())


def _not_in_use(name, branch, chosen):
    """Why a setting has no effect in the stack with the choices of the file, or None."""
    algorithm = chosen["subtract"]
    if branch.get("subtract", algorithm) != algorithm:
        return f"not in use: subtract is {algorithm!r}"
    if algorithm == "zogy":
        is_kernel = name.split(".")[0] == "kernel"
        return "not in use: ZOGY fits no kernel" if is_kernel else ZOGY_IGNORES.get(name)
    if branch.get("kernel", chosen["kernel"]) != chosen["kernel"]:
        return f"not in use: kernel is {chosen['kernel']!r}"
    return None


def _place(option, chosen):
    """Name of an option without its branches, and the branches: {"subtract": "al"}.

    subtract['al'].kernel['AL'].kernelSize is kernel.kernelSize. `active` stands for the branch
    that is chosen at that line.
    """
    parts = list(option)
    if parts[0] == "imageDifference":
        del parts[0]
    above, branch = "", {}
    for registry in _REGISTRIES:
        if parts[:1] != [registry]:
            break
        selector = parts[1] if len(parts) > 1 else "name"
        if selector in ("name", "active") and len(parts) <= 2:
            return registry, branch
        if selector == "active":
            branch[registry] = chosen[registry]
        elif selector.startswith("["):
            branch[registry] = selector[1:-1]
        else:
            break
        above, parts = ("kernel." if registry == "kernel" else ""), parts[2:]
    return above + ".".join(parts), branch
