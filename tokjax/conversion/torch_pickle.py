"""Reads the pickles inside PyTorch checkpoints as plain data, without PyTorch and without ever calling what they name.

A pickle is a program for a small stack machine, and Python's own machine calls any function that the program names. This one
calls nothing: a name becomes a `Global`, and using one either makes a tensor, a dict or a set here, or leaves an inert
`StandIn` that holds the object's state. Names outside a short list are refused.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any


class CheckpointError(ValueError):
    """A file of weights that cannot be read, written or believed.

    The message is one sentence for the user; from functions that do not know the file's name it is what follows the name.
    """


@dataclasses.dataclass(frozen=True)
class Global:
    """A class or function that a pickle names, e.g. "torch.FloatStorage"."""

    name: str


@dataclasses.dataclass(eq=False)
class StandIn:
    """An object of a class that is not loaded: what it was made with, its state (mostly a dict of attributes) and its items."""

    name: str
    made_with: tuple[Any, ...] = ()
    state: Any = None
    items: Any = dataclasses.field(default_factory=dict)


# Of these packages a checkpoint may hold objects: hyper-parameters, callbacks, metrics. They become stand-ins.
_INERT_PACKAGES = {"argparse", "omegaconf", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities"}
_INERT_PACKAGES |= {"numpy", "pathlib", "datetime", "enum", "__torch__"}  # the last: modules of a TorchScript archive
_TYPES = ("int", "float", "complex", "bool", "str", "bytes", "dict", "list", "tuple", "object", "set", "frozenset")
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_STORAGES += ("ComplexFloat", "ComplexDouble")
_INERT = {"typing.Any", "collections.OrderedDict", "collections.defaultdict", "_codecs.encode", "torch.Size", "torch.device"}
_INERT |= {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _TYPES}
_INERT |= {f"{module}._reconstructor" for module in ("copyreg", "copy_reg")}
_INERT |= {f"torch.jit._pickle.{name}" for name in ("build_intlist", "build_boollist", "build_doublelist", "build_tensorlist")}
_INERT |= {f"torch.{name}" for name in _DTYPES} | {f"torch.{name}Storage" for name in _STORAGES}
_REBUILD = {f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter")}

# Operations of a pickle that put their argument, a constant, something empty, or a tuple of the last values on the stack.
_PUSH = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "UNICODE", "BINUNICODE"}
_PUSH |= {"SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Runs one pickle.

    Args:
      load_storage: what a persistent id stands for.
      rebuild_tensor: (storage, offset, size, stride) -> tensor.
    """

    def __init__(self, load_storage: Callable[[Any], Any], rebuild_tensor: Callable[..., Any]) -> None:
        self._load_storage, self._rebuild_tensor = load_storage, rebuild_tensor
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        """The object of the pickle at the file's position (`read`, `readline`, `tell`), which ends behind it.

        Raises:
          CheckpointError: the pickle is damaged, or names something that is not plain data.
        """
        try:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "STOP":
                    return self._stack.pop()
                self._step(operation.name, argument)
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"holds a damaged pickle ({error})") from error
        raise CheckpointError("holds a damaged pickle (it has no end)")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _PUSH:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise CheckpointError(f"holds a pickle with the operation {name}, which no checkpoint needs")
            method(argument)

    # Each method below is the pickle operation of its name.

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _binget = _long_binget = _get

    def _tuple(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def _list(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set(items)

    def _append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, StandIn):
            target.items = [*target.items, *items]
        else:
            list.extend(target, items)

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1].items if isinstance(self._stack[-1], StandIn) else self._stack[-1]
        dict.update(target, {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        set.update(self._stack[-1], [_key(item) for item in items])

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._load_storage(self._stack.pop()))

    def _global(self, names: str) -> None:
        self._stack.append(_allowed(names.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_allowed(f"{module}.{name}"))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._made(function, arguments))

    _newobj = _reduce

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], StandIn):  # anything else is data already; what PyTorch adds to it here is of no use
            self._stack[-1].state = state

    def _made(self, function: Any, arguments: Any) -> Any:
        """What calling `function` would have made."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise CheckpointError("holds a damaged pickle (it calls something that is no function)")
        name = function.name
        if name in _REBUILD:
            return arguments[0] if name.endswith("parameter") else self._rebuild_tensor(*arguments[:4])
        if name == "collections.OrderedDict":
            return {_key(key): value for key, value in (arguments[0] if arguments else ())}
        if name.endswith(".set"):
            return {_key(item) for item in (arguments[0] if arguments else ())}
        if name == "torch.Size":
            return tuple(arguments[0])
        if name.endswith("._reconstructor"):
            return StandIn(arguments[0].name)
        return StandIn(name, arguments)


def _allowed(name: str) -> Global:
    if name not in _INERT | _REBUILD and name.partition(".")[0] not in _INERT_PACKAGES:
        raise CheckpointError(f"asks for {name}, which is no data and is never run here; the file may be malicious")
    return Global(name)


def _key(value: Any) -> Any:
    """The value, if it can be a key without surprises: hashing nested ones could be made to crash Python."""
    if isinstance(value, (str, bytes, int, float, Global, type(None))):
        return value
    if isinstance(value, tuple) and all(isinstance(item, (str, bytes, int, float, type(None))) for item in value):
        return value
    raise CheckpointError("holds a damaged pickle (a key is no name or number)")
