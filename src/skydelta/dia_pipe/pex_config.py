"""What a configuration file of the LSST stack sets, read from its syntax tree and never executed.

Such a file is Python that assigns to the fields of an object `config`. What it sets is known
without execution as long as it consists of plain assignments of literals; every other statement is
kept with the reason why it is not.
"""

import ast
import warnings
from dataclasses import dataclass, field

from skydelta.errors import SkydeltaError

ROOTS = ("config", "root")
"""Names under which the stack hands the configuration to the file."""

UNKNOWN = object()
"""The value of an option that only execution would tell."""

_HARMLESS_IMPORTS = ("lsst", "os")
_TEXT_LIMIT = 120


class ConfigError(SkydeltaError):
    """A configuration file that cannot be understood, or that the stack itself would refuse."""

    status = "bad_config"


@dataclass(frozen=True)
class Setting:
    """An option and what the file does with it.

    Parameters
    ----------
    option
        Names below `config`; keys in brackets, calls with parentheses:
        ("imageDifference", "subtract", "[al]", "kernel", "name").
    value
        The literal assigned, or UNKNOWN.
    line
        Line number in the file.
    text
        The statement.
    plain
        Whether it is an assignment, not a call or a change in place.
    """

    option: tuple
    value: object
    line: int
    text: str
    plain: bool = True


@dataclass(frozen=True)
class Remark:
    """A statement and what is to be said of it."""

    line: int
    text: str
    reason: str


@dataclass
class PexConfig:
    """Settings in the order of the file, and the statements that are none."""

    settings: list = field(default_factory=list)
    others: list = field(default_factory=list)

    def skip(self, node, reason):
        """Keep a statement that is not followed."""
        self.others.append(Remark(node.lineno, _text(node), reason))


def parse_pex_config(source):
    """The settings of a configuration file.

    Parameters
    ----------
    source
        Text or bytes of the file.

    Returns
    -------
    PexConfig

    Raises
    ------
    ConfigError
        If it is not Python.
    """
    config = PexConfig()
    try:
        with warnings.catch_warnings():
            # Python warns of doubtful escapes such as "\d"; they are the stack's concern.
            warnings.simplefilter("ignore")
            body = ast.parse(source).body
        for node in body:
            _STATEMENTS.get(type(node), _other)(node, config)
    except SyntaxError as error:
        at = f"line {error.lineno}: " if error.lineno else ""
        msg = f"{at}this is not Python: {error.msg}"
        raise ConfigError(msg, line=error.lineno) from error
    except (RecursionError, MemoryError) as error:
        msg = "the file is nested too deeply to be read"
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f"this is not Python: {error}"
        raise ConfigError(msg) from error
    return config


def _assign(node, config):
    for target in node.targets:
        _bind(node, target, node.value, config)


def _annotated(node, config):
    if node.value is None:
        config.skip(node, "declares a type and sets nothing")
    else:
        _bind(node, node.target, node.value, config)


def _bind(node, target, value, config):
    """One target of an assignment; tuples of targets element by element."""
    if isinstance(target, ast.Tuple | ast.List):
        fits = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
        if fits and not any(isinstance(e, ast.Starred) for e in target.elts + value.elts):
            for one, its_value in zip(target.elts, value.elts, strict=True):
                _bind(node, one, its_value, config)
        else:
            config.skip(node, "which value goes where is known only when executed")
        return
    option = _option(target)
    if option:
        config.settings.append(Setting(option, _literal(value), node.lineno, _text(node)))
    elif option == ():
        config.skip(node, "replaces the whole configuration: not followed")
    elif _mentions_config(target):
        config.skip(node, "which option this sets is known only when executed")
    else:
        config.skip(node, "a variable, no option of `config`: not followed")


def _change_in_place(node, config):
    option = _option(node.target)
    if option:
        config.settings.append(Setting(option, UNKNOWN, node.lineno, _text(node), plain=False))
    else:
        config.skip(node, "no option of `config`: not followed")


def _expression(node, config):
    if isinstance(node.value, ast.Call):
        _call(node, node.value, config)
    elif not isinstance(node.value, ast.Constant):
        config.skip(node, "an expression: it sets nothing that is known without execution")


def _call(node, call, config):
    """config.x.update(y=1) and setattr(config.x, "y", 1) set options; other calls are kept."""
    named = [k for k in call.keywords if k.arg is not None]
    if isinstance(call.func, ast.Attribute) and _option(call.func.value) is not None:
        option = _option(call.func.value)
        if call.func.attr == "update" and named and len(named) == len(call.keywords):
            for keyword in named:
                _bind(node, ast.Attribute(call.func.value, keyword.arg), keyword.value, config)
            if not call.args:
                return
        option = (*option, f"{call.func.attr}()")
        config.settings.append(Setting(option, UNKNOWN, node.lineno, _text(node), plain=False))
    elif isinstance(call.func, ast.Name) and call.func.id == "setattr" and _is_setattr(call):
        target = ast.Attribute(call.args[0], call.args[1].value)
        _bind(node, target, call.args[2], config)
    else:
        config.skip(node, "a call: nothing of the file is executed")


def _is_setattr(call):
    return (
        len(call.args) == 3
        and not call.keywords
        and _option(call.args[0]) is not None
        and isinstance(call.args[1], ast.Constant)
        and isinstance(call.args[1].value, str)
    )


def _import(node, config):
    if isinstance(node, ast.ImportFrom):
        modules = [node.module or ""]
    else:
        modules = [alias.name for alias in node.names]
    if any(module.split(".")[0] not in _HARMLESS_IMPORTS for module in modules):
        config.skip(node, "nothing of the file is executed, so nothing is imported")


def _check(node, config):
    config.skip(node, "a check, which sets nothing")


def _other(node, config):
    """Compound statements statement by statement, as far as they have to do with `config`."""
    if not isinstance(node, _COMPOUND):
        config.skip(node, "not an assignment: not followed")
        return
    inner = [
        each
        for each in ast.walk(node)
        if isinstance(each, ast.stmt) and not isinstance(each, _COMPOUND) and _mentions_config(each)
    ]
    kind = _kind(node)
    for each in sorted(inner, key=lambda e: (e.lineno, e.col_offset)):
        reason = f"inside {kind} on line {node.lineno}: what it does is known only when executed"
        config.skip(each, reason)
    if not inner:
        config.skip(node, f"{kind} that is not executed; it sets no option of `config`")


_COMPOUND = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


def _kind(node):
    """What a compound statement is called in Python: `for`, `def` ..."""
    words = {"FunctionDef": "def", "ClassDef": "class", "TryStar": "try"}
    name = type(node).__name__.removeprefix("Async")
    return f"`{words.get(name, name.lower())}`"


_STATEMENTS = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _change_in_place,
    ast.Expr: _expression,
    ast.Import: _import,
    ast.ImportFrom: _import,
    ast.Assert: _check,
    ast.Pass: lambda node, config: None,
}


def _option(node):
    """The names below `config` that an expression stands for, () for `config`, or None."""
    if isinstance(node, ast.Name):
        return () if node.id in ROOTS else None
    if isinstance(node, ast.Attribute):
        name = node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        name = f"[{node.slice.value}]"
    else:
        return None
    above = _option(node.value)
    return None if above is None else (*above, name)


def _literal(node):
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return UNKNOWN


def _mentions_config(node):
    return any(isinstance(each, ast.Name) and each.id in ROOTS for each in ast.walk(node))


def _text(node):
    """A statement on one line, shortened; of a compound one its first line."""
    try:
        text = ast.unparse(node)
    except ValueError:  # an integer of thousands of digits
        return "(a very large number)"
    text = " ".join((text.splitlines()[0] if isinstance(node, _COMPOUND) else text).split())
    # Lines may hold characters that end a comment of YAML.
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 4] + " ..."
