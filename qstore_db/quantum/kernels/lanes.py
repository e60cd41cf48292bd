"""Vectors of the processor as values in compiled code.

LLVM leaves the loops of a gate as they are: it cannot know that their two, four or eight streams through one array
do not overlap, and they run at a tenth of what the machine can do. So the kernels say themselves what a vector is:
`load` takes 64 bytes from an array, 16 float32 or 8 float64, arithmetic works on all of them, and `store` puts them
back.
On processors with shorter registers LLVM splits them.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import types
from numba.core.caching import FunctionCache
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

VECTOR_BYTES: Final = 64
_FAST: Final = ("contract", "nsz", "reassoc")
"""Products and sums may be fused and reordered; NaN and infinity stay what they are."""

F = TypeVar("F", bound=Callable[..., Any])


_SOURCES: Final = blake2b(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))), digest_size=16
).hexdigest()


class _Cache(FunctionCache):
    """Compiled code on disk that is used again for the same sources only. By itself Numba looks at the file that a
    function stands in, and not at those of the functions that were compiled into it."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return super()._index_key(sig, codegen), _SOURCES  # type: ignore[no-untyped-call]


def compiled(function: F) -> F:
    """Compiled on first use and kept on disk, where there is a folder for it; without the interpreter's lock."""
    dispatcher: Any = numba.njit(nogil=True, boundscheck=False, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no folder may be written: then each process compiles for itself
        dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
    return cast("F", dispatcher)


def _instruction(function: Callable[..., Any]) -> Any:
    """What compiled code may call, and what LLVM is told to do for it."""
    return intrinsic(function)


class _Lanes(types.Type):
    """The type of a vector of `dtype`, to the compiler."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        element = ir.FloatType() if fe_type.dtype is types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, _count(fe_type.dtype)))  # type: ignore[no-untyped-call]


def _count(dtype: Any) -> int:
    return VECTOR_BYTES * 8 // int(dtype.bitwidth)


_TYPES: Final = {dtype: _Lanes(dtype) for dtype in (types.float32, types.float64)}


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(data.type.pointee, _count(kind.dtype))
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(vector))


@_instruction
def load(_: Any, array: Any, index: Any) -> Any:  # noqa: ARG001 - always an intp
    """The vector that begins at an index (intp) of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = builder.load(_place(context, builder, signature.args[0], *arguments))
        vector.align = array.dtype.bitwidth // 8
        return vector

    return _TYPES[array.dtype](array, types.intp), generate


@_instruction
def store(_: Any, array: Any, index: Any, vector: Any) -> Any:  # noqa: ARG001 - always an intp
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(arguments[2], place).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_instruction
def splat(_: Any, array: Any, number: Any) -> Any:
    """A vector of the array's dtype with the same number everywhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        empty = ir.Constant(kind, ir.Undefined)
        cast = context.cast(builder, arguments[1], number, array.dtype)
        first = builder.insert_element(empty, cast, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, empty, zeros)

    return _TYPES[array.dtype](array, number), generate


@_instruction
def total(_: Any, vector: Any) -> Any:
    """The sum of a vector's numbers."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        (vector,) = arguments
        count = vector.type.count
        while count > 1:  # half onto half
            count //= 2
            indices = ir.VectorType(ir.IntType(32), count)
            low = builder.shuffle_vector(vector, vector, ir.Constant(indices, list(range(count))))
            high = builder.shuffle_vector(vector, vector, ir.Constant(indices, list(range(count, 2 * count))))
            vector = builder.fadd(low, high, flags=_FAST)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


def _exchange(distance: int) -> Any:
    """The vector with lanes i and i ^ distance exchanged."""

    @_instruction
    def exchanged(_: Any, vector: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
            (vector,) = arguments
            count = vector.type.count
            places = [lane ^ distance if (lane ^ distance) < count else lane for lane in range(count)]
            indices = ir.Constant(ir.VectorType(ir.IntType(32), count), places)
            return builder.shuffle_vector(vector, vector, indices)

        return vector(vector), generate

    return exchanged


exchange_1, exchange_2, exchange_4, exchange_8 = (_exchange(distance) for distance in (1, 2, 4, 8))


@_instruction
def parity(_: Any, bits: Any) -> Any:  # noqa: ARG001 - always an intp
    """1 where an odd number of bits is set, else 0."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.and_(builder.ctpop(arguments[0]), ir.Constant(arguments[0].type, 1))

    return types.intp(types.intp), generate


@compiled
def exchanged(vector: Any, distance: Any) -> Any:
    """Lanes i and i ^ distance exchanged, for a distance that is known at run time."""
    if distance & 1:
        vector = exchange_1(vector)
    if distance & 2:
        vector = exchange_2(vector)
    if distance & 4:
        vector = exchange_4(vector)
    if distance & 8:
        vector = exchange_8(vector)
    return vector


_signature: Any = signature
_infer: Any = infer_global
_lower: Any = lower_builtin


def _arithmetic(function: Any, instruction: str) -> None:
    """An operator on two vectors. As an `overload` it would be compiled anew wherever it stands: for minutes."""

    class Typed(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:  # noqa: ARG002 - operators have none
            if len(args) == 2 and isinstance(args[0], _Lanes) and args[0] == args[1]:
                return _signature(args[0], *args)
            return None

    _infer(function)(Typed)

    @_lower(function, _Lanes, _Lanes)  # type: ignore[untyped-decorator]
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=_FAST)


for _function, _instruction_name in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.isub, "fsub"),
    (operator.mul, "fmul"),
):
    _arithmetic(_function, _instruction_name)
