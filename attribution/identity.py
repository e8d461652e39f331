"""What code and objects in memory are known by, so that work on one is never taken for work on another.

A function is its code, constants, defaults, closure and the globals that it reads; an object its class and its state; a
module its tensors, which of them are trained, the classes of all its parts and their simple attributes. What belongs to
an installed package, or to Python, is known by its name alone.
"""

import enum
import functools
import hashlib
import logging
import types
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from thresher.attribution.code import globals_of, is_installed, said_of

SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), torch.dtype, torch.device)
PLAIN = (tuple, list, dict, set, frozenset, np.ndarray, Tensor)
METHODS = (types.FunctionType, staticmethod, classmethod, property)
NATIVE = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    np.ufunc,
)


class Opaque(TypeError):
    """Something has no content that could be hashed; the message says where it stands."""


def identity_of(value: Any, name: str, *, strict: bool = True) -> str:
    """SHA-256 of all that `value` is, whatever it is made of: numbers, tensors, functions, objects.

    Raises Opaque for parts that have no content, such as locks and files; `strict=False` takes their class instead.
    """
    return _Reading(deep=True, strict=strict).of(value, name)


def identity_of_module(module: nn.Module) -> str:
    """SHA-256 of what decides a module's output and gradients, the same for a copy of it on any device.

    All that state dicts hold, buffers that they do not, names of trained parameters, and of every part its class, its
    code and its simple attributes. Objects among the attributes count by their class and their own simple attributes.
    """
    return _Reading(deep=False, strict=False).of(module, "model")


def identity_of_part(value: Any) -> str:
    """SHA-256 of an object's class, its code and its simple attributes, as of a part of a module."""
    return _Reading(deep=False, strict=False).of(value, "object")


class _Reading:
    """One walk over a value and all that it is made of; what was met before is not read again."""

    def __init__(self, *, deep: bool, strict: bool) -> None:
        self.deep, self.strict = deep, strict
        self.digest: Any = hashlib.sha256()
        self.open: dict[tuple[int, int, bool], int] = {}
        self.known: dict[tuple[int, int, bool], tuple[bytes, Any]] = {}

    def of(self, value: Any, where: str) -> str:
        try:
            self.read(value, where, 0)
        except RecursionError:
            raise Opaque(f"{where} is nested too deeply") from None
        return self.digest.hexdigest()

    def put(self, tag: str, content: bytes | str = b"") -> None:
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.digest.update(f"{tag} {len(content)} ".encode() + content)

    def read(self, value: Any, where: str, depth: int) -> None:
        if type(value) in SIMPLE:
            self.put(type(value).__name__, repr(value))
        else:
            self.put("value", self.sealed(value, where, depth))

    def sealed(self, value: Any, where: str, depth: int) -> bytes:
        """The digest of one value by itself; of one that is within itself, how far up it stands."""
        key = (id(value), depth, self.deep)
        if key in self.open:
            return f"up {len(self.open) - self.open[key]}".encode()
        if key not in self.known:
            outer, self.digest, self.open[key] = self.digest, hashlib.sha256(), len(self.open)
            try:
                self.whole(value, where, depth)
                self.known[key] = self.digest.digest(), value
            finally:
                self.digest = outer
                del self.open[key]
        return self.known[key][0]

    def whole(self, value: Any, where: str, depth: int) -> None:
        kind = type(value)
        if kind in SIMPLE:
            self.put(kind.__name__, repr(value))
        elif isinstance(value, Tensor):
            self.tensor(value)
        elif isinstance(value, np.ndarray | np.generic):
            self.array(np.asarray(value), where, depth)
        elif isinstance(value, types.ModuleType | logging.Logger):
            self.put("name", value.name if isinstance(value, logging.Logger) else value.__name__)
        elif isinstance(value, nn.Module):
            self.module(value, where)
        elif isinstance(value, type):
            self.kind(value, where, depth)
        elif isinstance(value, enum.Enum):
            self.put("enum", f"{kind.__qualname__}.{value.name}")
        elif callable(value) and self.function(value, where, depth):
            pass
        elif kind in (dict, types.MappingProxyType) or (not self.deep and isinstance(value, dict)):
            self.items(cast("dict[Any, Any]", value).items(), where, depth)
        elif kind in (list, tuple) or (not self.deep and isinstance(value, list | tuple)):
            items = cast("list[Any] | tuple[Any, ...]", value)
            self.put("tuple" if isinstance(value, tuple) else "list", str(len(items)))
            for place, item in enumerate(items):
                self.read(item, f"{where}[{place}]", depth)
        elif kind in (set, frozenset):
            for part in sorted(self.sealed(item, where, depth) for item in cast("set[Any]", value)):
                self.put("member", part)
        else:
            self.thing(value, where, depth)

    def items(self, items: Iterable[tuple[Any, Any]], where: str, depth: int) -> None:
        """Names or keys and values, in an order that says nothing."""
        ordered = sorted(items, key=lambda item: (type(item[0]).__name__, str(item[0])))
        self.put("items", str(len(ordered)))
        for key, item in ordered:
            self.read(key, f"a key of {where}", depth)
            self.read(item, f"{where}.{key}" if isinstance(key, str) else f"{where}[{key!r}]", depth)

    def tensor(self, value: Tensor) -> None:
        self.put("tensor", f"{value.dtype} {value.layout} {list(value.shape)}")
        value = value.dequantize() if value.is_quantized else value
        value = value if value.layout is torch.strided else value.to_dense()
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        self.put("bytes", flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")

    def array(self, value: np.ndarray, where: str, depth: int) -> None:
        self.put("array", f"{value.dtype} {list(value.shape)}")
        if value.dtype.hasobject:
            self.read(value.tolist(), where, depth)
        else:
            self.put("bytes", np.ascontiguousarray(value).tobytes())

    def module(self, module: nn.Module, where: str) -> None:
        self.items(module.state_dict().items(), where, 0)
        self.items(module.named_buffers(), where, 0)
        trained = [name for name, value in module.named_parameters(remove_duplicate=False) if value.requires_grad]
        self.put("trained", repr(sorted(trained)))
        deep, self.deep = self.deep, False
        for name, part in module.named_modules():
            self.put("part", name)
            self.read(type(part), where, 0)
            self.read([*part._forward_pre_hooks.values(), *part._forward_hooks.values()], where, 0)
            hidden = "_" if is_installed(type(part).__module__) else "__"
            self.items(said_of(part, hidden), f"{where}.{name}" if name else where, 0)
        self.deep = deep

    def kind(self, kind: type, where: str, depth: int) -> None:
        if is_installed(kind.__module__):
            return self.put("class", f"{kind.__module__} {kind.__qualname__}")
        self.put("class", kind.__qualname__)
        for name, value in sorted(vars(kind).items()):
            if isinstance(value, METHODS) or (isinstance(value, (*SIMPLE, *PLAIN)) and name[:2] != "__"):
                self.put("attribute", name)
                given = (value.fget, value.fset) if isinstance(value, property) else getattr(value, "__func__", value)
                self.read(given, f"{where}.{name}", depth)
        for base in kind.__bases__:
            self.read(base, where, depth)

    def function(self, value: Any, where: str, depth: int) -> bool:
        """Whether `value` is a function, and was read as one."""
        inner, written = getattr(value, "__wrapped__", None), getattr(value, "_torchdynamo_orig_callable", None)
        if isinstance(written, types.FunctionType):  # by torch.compile
            self.read(written, where, depth)
        elif isinstance(value, functools.partial):
            self.put("partial")
            self.read([value.func, value.args, value.keywords], where, depth)
        elif isinstance(value, types.MethodType):
            self.read([value.__func__, value.__self__], where, depth)
        elif isinstance(value, types.FunctionType):
            self.written(value, where, depth)
        elif isinstance(value, NATIVE):
            self.put("named", f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value)}")
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, types.ModuleType | None):
                self.read(owner, where, depth)
        elif inner is not None and is_installed(type(value).__module__):
            self.read([type(value), inner], where, depth)
        else:
            return False
        return True

    def written(self, function: types.FunctionType, where: str, depth: int) -> None:
        """A function that is written in Python: of an installed package its name, and what it was made with."""
        code, is_theirs = function.__code__, is_installed(function.__module__)
        self.put("function", f"{function.__module__ if is_theirs else ''} {function.__qualname__}")
        if is_theirs and "<locals>" not in function.__qualname__:
            return
        self.read([function.__defaults__, function.__kwdefaults__], f"a default of {where}", depth)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self.put("cell", name)
            if cell != types.CellType():
                self.read(cell.cell_contents, f"{name} in {where}", depth)
        if not is_theirs:
            self.code(code)
            self.items(vars(function).items(), where, depth)
            for name in sorted(set(globals_of(code)) & set(function.__globals__)):
                self.put("global", name)
                self.read(function.__globals__[name], f"{name} in {where}", depth)

    def code(self, code: types.CodeType) -> None:
        self.put("code", code.co_code)
        self.put("names", repr((code.co_names, code.co_varnames, code.co_freevars)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.read(constant, "a constant", 0)

    def thing(self, value: Any, where: str, depth: int) -> None:
        """An object: all of its state or, where only simple attributes count, those, and those of its own objects."""
        self.read(type(value), where, depth)
        if not self.deep:
            if depth < 1:
                self.items(said_of(value, "_"), where, depth + 1)
            return
        try:
            state = value.__reduce_ex__(4)
        except Exception:
            if self.strict:
                raise Opaque(f"{where} is a {type(value).__name__}") from None
            return
        for part in state if isinstance(state, tuple) else (state,):
            self.read(list(part) if isinstance(part, Iterator) else part, where, depth)
