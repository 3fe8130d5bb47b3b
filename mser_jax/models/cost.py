"""The cost of a network: its multiply-adds and its memory in the backward pass, from shapes.

The calls of the modules are recorded while JAX traces the network, so that no weight is drawn and
nothing is compiled. The lowering of the convolutions (`ops.conv`) does not affect these counts,
except in `multiply_adds`.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings, Upsample
from mser_jax.models.ops.conv import Size

ModulePath = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module for one clip.

    Attributes:
      path: Path of the module in the network.
      output: Shape of its output, without the batch axis.
      kernel: Time, height and width of its kernel; None without a kernel, or if the kernel is a
        matrix.
      strides: Strides of the kernel.
      parameters: Number of its own parameters, without those of its submodules.
      macs: Multiply-adds of its own kernel over all positions. Those of normalisations, poolings
        and sums are not counted.
      output_bytes: Bytes of its output.
      kept_bytes: `output_bytes`, or 0 if it returns the output of one of its submodules.
    """

    path: ModulePath
    output: tuple[int, ...]
    kernel: Size | None
    strides: Size | None
    parameters: int
    macs: int
    output_bytes: int
    kept_bytes: int


@dataclasses.dataclass(frozen=True)
class Part:
    """A row of the summary: a stage of the network, or a part of block 1."""

    name: str
    output: tuple[int, ...]
    parameters: int
    macs: int
    calls: Sequence[Call]


def calls(settings: MSRes3DSettings, clip_shape: Sequence[int]) -> list[Call]:
    """List every call of every module for one clip, inner calls before outer ones.

    Args:
      settings: Options of the network.
      clip_shape: Shape of the clip, `[t, h, w, c]`.
    """
    # With remat, copies of the modules would be called, whose paths are not known.
    settings = dataclasses.replace(settings, remat=False)
    module_calls: list[Call] = []
    returned: list[jax.Array] = []  # Keeps the outputs alive, so that their ids stay unique.

    def record(
        path: ModulePath, module: nnx.Module, inputs: Sequence[Any], output: jax.Array
    ) -> None:
        is_new = not any(output is earlier for earlier in returned)
        returned.append(output)
        module_calls.append(_make_call(path, module, inputs[0], output, is_new))

    def forward(x: jax.Array) -> jax.Array:
        model = MSRes3D(settings, rngs=nnx.Rngs(0))
        with _intercept_calls(model, record):
            return model(x)

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32))
    return module_calls


def multiply_adds(make: Callable[[nnx.Rngs], Any], clip_shape: Sequence[int]) -> int:
    """Count the multiply-adds of any network's matrix products and convolutions.

    The count is of one forward pass for one clip. It is taken from the program that JAX traces, in
    which the body of a loop counts once per iteration. It therefore also covers networks that do
    not call a module for each layer. Multiply-adds that a lowering adds are included.

    Args:
      make: Function that creates the network from random generators.
      clip_shape: Shape of the clip, `[t, h, w, c]`.
    """
    traced = jax.make_jaxpr(lambda x: make(nnx.Rngs(0))(x))
    return _multiply_adds(traced(jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)).jaxpr)


def _multiply_adds(jaxpr: Any) -> int:
    total = 0
    for step in jaxpr.eqns:
        if step.primitive.name == "dot_general":
            (contracted_axes, _), _ = step.params["dimension_numbers"]
            left_shape, output_size = step.invars[0].aval.shape, step.outvars[0].aval.size
            total += output_size * math.prod(left_shape[axis] for axis in contracted_axes)
        elif step.primitive.name == "conv_general_dilated":
            kernel, numbers = step.invars[1].aval, step.params["dimension_numbers"]
            total += step.outvars[0].aval.size * kernel.size // kernel.shape[numbers.rhs_spec[0]]
        else:
            inner = sum(_multiply_adds(body) for body in _inner_jaxprs(step.params.values()))
            total += inner * step.params.get("length", 1)
    return total


def _inner_jaxprs(params: Iterable[Any]) -> Iterator[Any]:
    for param in params:
        if isinstance(param, tuple | list):
            yield from _inner_jaxprs(param)
        elif hasattr(param, "jaxpr"):  # a ClosedJaxpr
            yield param.jaxpr
        elif hasattr(param, "eqns"):
            yield param


def parts(module_calls: Sequence[Call]) -> list[Part]:
    """Group calls by stage, in the order of the network.

    Args:
      module_calls: Calls as `calls` returns them.

    Returns:
      The parts. Their `macs` and `parameters` add up to those of the network.
    """
    outputs = {name: call.output for call in module_calls if (name := _paper_name(call.path))}
    grouped = {
        name: [call for call in module_calls if _part_name(call.path) == name] for name in outputs
    }
    return [
        Part(
            name,
            outputs[name],
            sum(call.parameters for call in group),
            sum(call.macs for call in group),
            group,
        )
        for name, group in grouped.items()
    ]


def activation_bytes(module_calls: Sequence[Call], *, remat: bool) -> int:
    """Estimate the bytes of activations kept for the backward pass of one clip.

    Args:
      module_calls: Calls as `calls` returns them.
      remat: Whether each stage is rematerialised. Without it, the outputs of all modules are kept:
        of every convolution, normalisation, ReLU, weighting, pooling and sum. With it, the outputs
        of the stages and the heads are kept, and all outputs within the one stage that needs the
        most.
    """
    if not remat:
        return sum(call.kept_bytes for call in module_calls)
    stages: dict[ModulePath, int] = {}
    for call in module_calls:
        stage = call.path[: 1 if call.path[:1] == ("stem",) else 2]
        stages[stage] = stages.get(stage, 0) + call.kept_bytes
    heads = sum(size for stage, size in stages.items() if stage[:1] in ((), ("heads",)))
    rematerialised = {
        stage: size for stage, size in stages.items() if stage[:1] not in ((), ("heads",))
    }
    outputs = sum(call.output_bytes for call in module_calls if call.path in rematerialised)
    return heads + outputs + max(rematerialised.values())


def _make_call(
    path: ModulePath, module: Any, x: jax.Array, output: jax.Array, is_new: bool
) -> Call:
    params = {name: v for name, v in vars(module).items() if isinstance(v, nnx.Param)}
    kernel = params["kernel"].shape if "kernel" in params else ()
    # A transposed convolution applies its kernel at each position of its input, before the crop.
    positions = math.prod((x if isinstance(module, Upsample) else output).shape[1:-1])
    size = output.size * output.dtype.itemsize
    return Call(
        path=path,
        output=output.shape[1:],
        kernel=kernel[:3] if len(kernel) > 2 else None,
        strides=getattr(module, "strides", None),
        parameters=sum(variable.size for variable in params.values()),
        macs=positions * math.prod(kernel) if kernel else 0,
        output_bytes=size,
        kept_bytes=size if is_new else 0,
    )


@contextlib.contextmanager
def _intercept_calls(model: nnx.Module, record: Callable[..., None]) -> Iterator[None]:
    """Call `record(path, module, inputs, output)` after each call of a module."""
    paths = {id(module): path for path, module in nnx.iter_modules(model)}
    kinds: set[Any] = {type(module) for _, module in nnx.iter_modules(model)}
    originals = {kind: kind.__call__ for kind in kinds if "__call__" in vars(kind)}

    def wrap(original: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        def call(module: nnx.Module, *inputs: Any, **options: Any) -> jax.Array:
            output = original(module, *inputs, **options)
            record(paths[id(module)], module, inputs, output)
            return output

        return call

    try:
        for kind, original in originals.items():
            kind.__call__ = wrap(original)
        yield
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def _part_name(path: ModulePath) -> str | None:
    """Return the name of the innermost part that contains a module."""
    names = (_paper_name(path[:length]) for length in range(len(path), 0, -1))
    return next((name for name in names if name), None)


def _paper_name(path: ModulePath) -> str | None:
    """Return the paper's name of a module (section 3.3, figure 3), or None."""
    match path:
        case ("stem", "conv"):
            return "block 1"
        case ("stem", "attention"):
            return "attention"
        case ("stem",):
            return "max-pool"
        case ("blocks", int(stage)):
            return f"block {stage + 2}"
        case ("rc", int(stage)):
            return f"RC{stage + 1}"
        case ("up", int(step)):
            return f"up to X{4 - step}"
        case ("affa", int(step)):
            return f"AFFA, O{step + 2}"
        case ("heads", int(step)):
            return f"head on O{step + 1}"
        case _:
            return None
