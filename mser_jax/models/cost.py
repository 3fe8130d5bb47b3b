"""The cost of a network: its multiply-adds and its memory in the backward pass, from shapes.

JAX only traces the network, so no weight is drawn and nothing is compiled. The lowering of the
convolutions (`ops.conv`) does not affect these counts, except in `multiply_adds`.

XLA's own count (`jax.stages.Lowered.cost_analysis`) is another one: it leaves out the products of
padding, counts every elementwise operation, and counts the body of a loop once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Jaxpr, jaxprs_in_params

from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings, Upsample

ModulePath = tuple[Any, ...]  # of attribute names and indices, as `nnx.iter_modules` gives it

# The parts of the network in its order, with the paper's names (section 3.3, figure 3). A module
# belongs to the innermost part that contains it; `stem` without its inner parts is the max-pool.
_PARTS: dict[ModulePath, str] = {
    ("stem", "conv"): "block 1",
    ("stem", "attention"): "attention",
    ("stem",): "max-pool",
    ("blocks", 0): "block 2",
    ("rc", 0): "RC1",
    ("blocks", 1): "block 3",
    ("rc", 1): "RC2",
    ("blocks", 2): "block 4",
    ("rc", 2): "RC3",
    ("blocks", 3): "block 5",
    ("up", 0): "up to X4",
    ("affa", 0): "AFFA, O2",
    ("up", 1): "up to X3",
    ("affa", 1): "AFFA, O3",
    ("up", 2): "up to X2",
    ("affa", 2): "AFFA, O4",
    ("heads", 0): "head on O1",
    ("heads", 1): "head on O2",
    ("heads", 2): "head on O3",
    ("heads", 3): "head on O4",
}


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module for one clip.

    Attributes:
      path: Path of the module in the network.
      output: Shape of its output, without the batch axis.
      parameters: Number of its own parameters, without those of its submodules.
      macs: Multiply-adds of its own kernel over all positions. Those of normalisations, poolings
        and sums are not counted.
      output_bytes: Bytes of its output.
      kept_bytes: `output_bytes`, or 0 if it returns the output of one of its submodules.
    """

    path: ModulePath
    output: tuple[int, ...]
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


def calls(settings: MSRes3DSettings, clip_shape: Sequence[int]) -> list[Call]:
    """List the call of every module for one clip.

    Args:
      settings: Options of the network.
      clip_shape: Shape of the clip, `[t, h, w, c]`.
    """
    # With remat, copies of the modules would be called, whose outputs are not captured.
    settings = dataclasses.replace(settings, remat=False)
    module_calls: list[Call] = []

    def forward(x: jax.Array) -> jax.Array:
        model = MSRes3D(settings, rngs=nnx.Rngs(0))
        capture = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)
        logits, captured = capture(x)
        module_calls.extend(_module_calls(model, captured))
        return logits

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32))
    return module_calls


def _module_calls(model: MSRes3D, captured: nnx.State) -> list[Call]:
    """Make the calls of the modules from their captured outputs."""
    flat = nnx.to_flat_state(captured)
    outputs = {path[:-1]: v.get_value() for path, v in flat if path[-1] == "__call__"}
    module_calls = []
    returned: set[int] = set()  # ids of the outputs of the submodules, which come first
    for path, module in nnx.iter_modules(model):
        # A dropout gets no key here and so returns its input.
        if path in outputs and not isinstance(module, nnx.Dropout):
            (output,) = outputs[path]
            module_calls.append(_make_call(path, module, output, id(output) not in returned))
            returned.add(id(output))
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


def _multiply_adds(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inputs, outputs = ([v.aval for v in vs] for vs in (equation.invars, equation.outvars))
        total += _equation_multiply_adds(equation.primitive.name, equation.params, inputs, outputs)
        iterations = equation.params.get("length", 1)  # of a loop
        total += iterations * sum(map(_multiply_adds, jaxprs_in_params(equation.params)))
    return total


def _equation_multiply_adds(
    primitive: str, params: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> int:
    """Count the multiply-adds of one equation, without its inner programs."""
    if primitive == "dot_general":
        (contracted_axes, _), _ = params["dimension_numbers"]
        return outputs[0].size * math.prod(inputs[0].shape[axis] for axis in contracted_axes)
    if primitive == "conv_general_dilated":
        kernel, output_axis = inputs[1], params["dimension_numbers"].rhs_spec[0]
        return outputs[0].size * kernel.size // kernel.shape[output_axis]
    return 0


def parts(module_calls: Sequence[Call]) -> list[Part]:
    """Group calls by stage, in the order of the network.

    Args:
      module_calls: Calls as `calls` returns them.

    Returns:
      The parts. Their `macs` and `parameters` add up to those of the network.
    """
    groups: dict[ModulePath, list[Call]] = {path: [] for path in _PARTS}
    for call in module_calls:
        if call.path:  # The network itself only stacks the logits of its heads.
            part = next(call.path[:length] for length in (2, 1) if call.path[:length] in _PARTS)
            groups[part].append(call)
    outputs = {call.path: call.output for call in module_calls}
    return [
        Part(
            name,
            outputs[path],
            sum(call.parameters for call in groups[path]),
            sum(call.macs for call in groups[path]),
        )
        for path, name in _PARTS.items()
        if path in outputs
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


def _make_call(path: ModulePath, module: nnx.Module, output: jax.Array, is_new: bool) -> Call:
    params = {name: v for name, v in vars(module).items() if isinstance(v, nnx.Param)}
    sides = output.shape[1:-1]
    if isinstance(module, Upsample):
        # Its kernel is applied at each position of the input. It doubles the sides of the input,
        # then crops what the halving before had rounded up.
        sides = [(side + 1) // 2 for side in sides]
    size = output.size * output.dtype.itemsize
    return Call(
        path=path,
        output=output.shape[1:],
        parameters=sum(variable.size for variable in params.values()),
        macs=math.prod(sides) * params["kernel"].size if "kernel" in params else 0,
        output_bytes=size,
        kept_bytes=size if is_new else 0,
    )
