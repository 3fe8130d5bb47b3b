"""What a network computes and what its backward pass keeps, counted from shapes alone.

The modules are watched while JAX traces the network, so that no weight is made and nothing is
compiled; how `conv` carries a convolution out does not matter.
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
    """One module at work on one clip.

    Attributes:
      path: where the module is in the network.
      output: the shape of what it returns, without the batch.
      kernel: time, height and width of its kernel; None without one, or without extent.
      strides: of the kernel.
      parameters: those of its own, not of the modules within it.
      macs: multiply-adds of its own: a kernel's, at each place where it is laid. Those of
        normalisations, poolings and sums are not counted.
      output_bytes: bytes of what it returns.
      kept_bytes: `output_bytes`, or 0 where it returns what a module within it has returned.
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
    """A row of the summary: a stage of the network, or a piece of block 1."""

    name: str
    output: tuple[int, ...]
    parameters: int
    macs: int
    calls: Sequence[Call]


def calls(settings: MSRes3DSettings, clip_shape: Sequence[int]) -> list[Call]:
    """Every call of every module for a clip `[t, h, w, c]`; an inner one before an outer one."""
    settings = dataclasses.replace(settings, remat=False)  # which calls copies of the modules
    seen: list[Call] = []
    returned: list[jax.Array] = []  # held, so that no two have one id

    def note(
        path: ModulePath, module: nnx.Module, inputs: Sequence[Any], output: jax.Array
    ) -> None:
        new = not any(output is other for other in returned)
        returned.append(output)
        seen.append(_make_call(path, module, inputs[0], output, new))

    def forward(x: jax.Array) -> jax.Array:
        model = MSRes3D(settings, rngs=nnx.Rngs(0))
        with _intercept_calls(model, note):
            return model(x)

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32))
    return seen


def multiply_adds(make: Callable[[nnx.Rngs], Any], clip_shape: Sequence[int]) -> int:
    """Multiply-adds of any network for a clip `[t, h, w, c]`, forward, of its matrix products.

    From the program that JAX traces, whose loops count as often as they turn: so also for a network
    that does not call a module for each of its layers. What a lowering adds is in it.
    """
    traced = jax.make_jaxpr(lambda x: make(nnx.Rngs(0))(x))
    return _multiply_adds(traced(jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)).jaxpr)


def _multiply_adds(jaxpr: Any) -> int:
    total = 0
    for step in jaxpr.eqns:
        if step.primitive.name == "dot_general":
            (summed, _), _ = step.params["dimension_numbers"]
            left, output = step.invars[0].aval.shape, step.outvars[0].aval.size
            total += output * math.prod(left[axis] for axis in summed)
        elif step.primitive.name == "conv_general_dilated":
            kernel, numbers = step.invars[1].aval, step.params["dimension_numbers"]
            total += step.outvars[0].aval.size * kernel.size // kernel.shape[numbers.rhs_spec[0]]
        else:
            inner = sum(_multiply_adds(each) for each in _inner_jaxprs(step.params.values()))
            total += inner * step.params.get("length", 1)
    return total


def _inner_jaxprs(params: Iterable[Any]) -> Iterator[Any]:
    for param in params:
        if isinstance(param, tuple | list):
            yield from _inner_jaxprs(param)
        elif hasattr(param, "jaxpr"):  # with its constants
            yield param.jaxpr
        elif hasattr(param, "eqns"):
            yield param


def parts(module_calls: Sequence[Call]) -> list[Part]:
    """The calls of `calls` by stage, in the order of the network; `macs` and parameters add up."""
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
    """Bytes that the backward pass of a clip keeps, by the modules' outputs.

    Without `remat`: the output of every convolution, normalisation, ReLU, weighing, pooling and
    sum. With it: the outputs of the stages, the heads, and within the stage that needs most all.
    """
    if not remat:
        return sum(call.kept_bytes for call in module_calls)
    stages: dict[ModulePath, int] = {}
    for call in module_calls:
        stage = call.path[: 1 if call.path[:1] == ("stem",) else 2]
        stages[stage] = stages.get(stage, 0) + call.kept_bytes
    heads = sum(size for stage, size in stages.items() if stage[:1] in ((), ("heads",)))
    anew = {stage: size for stage, size in stages.items() if stage[:1] not in ((), ("heads",))}
    outputs = sum(call.output_bytes for call in module_calls if call.path in anew)
    return heads + outputs + max(anew.values())


def _make_call(
    path: ModulePath, module: Any, x: jax.Array, output: jax.Array, is_new: bool
) -> Call:
    own = {name: v for name, v in vars(module).items() if isinstance(v, nnx.Param)}
    kernel = own["kernel"].shape if "kernel" in own else ()
    # A transposed convolution lays its kernel at each place of its input, before the crop.
    places = math.prod((x if isinstance(module, Upsample) else output).shape[1:-1])
    size = output.size * output.dtype.itemsize
    return Call(
        path=path,
        output=output.shape[1:],
        kernel=kernel[:3] if len(kernel) > 2 else None,
        strides=getattr(module, "strides", None),
        parameters=sum(variable.size for variable in own.values()),
        macs=places * math.prod(kernel) if kernel else 0,
        output_bytes=size,
        kept_bytes=size if is_new else 0,
    )


@contextlib.contextmanager
def _intercept_calls(model: nnx.Module, record: Callable[..., None]) -> Iterator[None]:
    """Tell `record` of each call of a module: its path, the module, the inputs, the output."""
    paths = {id(module): path for path, module in nnx.iter_modules(model)}
    kinds: set[Any] = {type(module) for _, module in nnx.iter_modules(model)}
    originals = {kind: kind.__call__ for kind in kinds if "__call__" in vars(kind)}

    def watch(original: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        def call(module: nnx.Module, *inputs: Any, **options: Any) -> jax.Array:
            output = original(module, *inputs, **options)
            record(paths[id(module)], module, inputs, output)
            return output

        return call

    try:
        for kind, original in originals.items():
            kind.__call__ = watch(original)
        yield
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def _part_name(path: ModulePath) -> str | None:
    """The name of the innermost part that holds a path."""
    names = (_paper_name(path[:length]) for length in range(len(path), 0, -1))
    return next((name for name in names if name), None)


def _paper_name(path: ModulePath) -> str | None:
    """What the paper calls a module (section 3.3, figure 3)."""
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
