"""What a pickle says, without doing what it says.

Unpickling runs whatever code the file names. Here the file is taken apart by the standard
library's disassembler, and its few instructions that only build data are followed: an object
becomes a record of the name of its class and of the arguments, and nothing is imported or called.
"""

import pickletools
import struct
from dataclasses import dataclass, field

from skydelta.errors import BadSkyMapError, CorruptFileError


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """A call that unpickling would have made; `state` is what it would have set afterwards."""

    function: object
    arguments: object
    state: object = None


class _Mark:
    """Where the items of a collection begin on the stack."""


_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}

_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
"""Opcodes that push their own argument."""

_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(data):
    """The object of a pickle, as plain values, Name and Call.

    Parameters
    ----------
    data
        bytes.

    Raises
    ------
    CorruptFileError
        If the bytes are no pickle, or only a part of one.
    BadSkyMapError
        If it uses an instruction that does more than build data out of data.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.follow(opcode.name, argument)
        (result,) = machine.stack
    except (ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error) as error:
        msg = f"it is no complete pickle: {error or type(error).__name__}"
        raise CorruptFileError(msg) from error
    return result


@dataclass
class _Machine:
    """The stack and the memo of a pickle under way."""

    stack: list = field(default_factory=list)
    memo: dict = field(default_factory=dict)

    def follow(self, opcode, argument):
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLES:
            self.stack.append(self._take(_TUPLES[opcode]))
        elif hasattr(self, f"_{opcode.lower()}"):
            getattr(self, f"_{opcode.lower()}")(argument)
        else:
            msg = f"it holds the pickle instruction {opcode}, which no skymap needs: is it one?"
            raise BadSkyMapError(msg)

    def _take(self, count):
        """The uppermost items, lowest first."""
        if count > len(self.stack):
            msg = "an instruction needs more than there is"
            raise ValueError(msg)
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _pop_to_mark(self):
        for i in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[i], _Mark):
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        msg = "a collection has no beginning"
        raise ValueError(msg)

    def _proto(self, _):
        """The version of the format, and below, hints and the end: nothing to do."""

    _frame = _stop = _proto

    def _put(self, key):
        self.memo[key] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, key):
        self.stack.append(self.memo[key])

    _binget = _long_binget = _get

    def _pop(self, _):
        self._take(1)

    def _pop_mark(self, _):
        self._pop_to_mark()

    def _dup(self, _):
        self.stack.append(self.stack[-1])

    def _tuple(self, _):
        self.stack.append(tuple(self._pop_to_mark()))

    def _list(self, _):
        self.stack.append(self._pop_to_mark())

    def _dict(self, _):
        self.stack.append(_pairs(self._pop_to_mark()))

    def _append(self, _):
        (item,) = self._take(1)
        _required(self.stack[-1], list).append(item)

    def _appends(self, _):
        items = self._pop_to_mark()
        _required(self.stack[-1], list).extend(items)

    def _setitem(self, _):
        items = self._take(2)
        _required(self.stack[-1], dict).update(_pairs(items))

    def _setitems(self, _):
        items = self._pop_to_mark()
        _required(self.stack[-1], dict).update(_pairs(items))

    def _global(self, argument):
        module, name = argument.split(" ", 1)
        self.stack.append(Name(module, name))

    def _stack_global(self, _):
        module, name = self._take(2)
        self.stack.append(Name(_required(module, str), _required(name, str)))

    def _reduce(self, _):
        self.stack.append(Call(*self._take(2)))

    _newobj = _reduce

    def _build(self, _):
        (state,) = self._take(1)
        _required(self.stack[-1], Call).state = state


def _pairs(items):
    """A dict of alternating keys and values.

    Keys are strings and numbers: to hash what a pickle may have nested a million deep is unsafe.
    """
    keys, values = items[::2], items[1::2]
    if not all(isinstance(key, str | bytes | int | float) for key in keys):
        msg = "a key is neither a string nor a number"
        raise ValueError(msg)
    return dict(zip(keys, values, strict=True))


def _required(item, kind):
    if not isinstance(item, kind):
        msg = f"it treats a {type(item).__name__} as a {kind.__name__}"
        raise TypeError(msg)
    return item
