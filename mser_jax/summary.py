"""The command `python -m mser_jax.summary --config=configs/samm.py`: the network, stage by stage.

The command needs neither clips nor weights, and compiles nothing.
"""

import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from flax import nnx
from ml_collections import ConfigDict

from data_prep.common import command
from data_prep.common.errors import UserError
from mser_jax.config import validation
from mser_jax.models import cost
from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings
from mser_jax.models.network import Network, count_parameters, functional

LAYERS = flags.DEFINE_bool("layers", False, "List every layer: input, output, weights.")
FOLDS = flags.DEFINE_integer("folds", 0, "Number of folds, to print the size of all their states.")

_WIDTH = 79
_LAYERS_WIDTH = 160  # of the table of `nnx.tabulate`, which shortens what does not fit
_MOMENTS = 2  # Adam keeps two moments per parameter.


def main(config: ConfigDict) -> None:
    """Print the summary that the flags ask for."""
    # Imported here so that a missing system library ends in a UserError, not a traceback.
    from data_prep.datasets.registry import class_names
    from mser_jax.config import networks

    validation.validate(config)
    if "model" not in config or not networks.is_network(config):
        raise UserError(
            f"{config.preset} has no network to describe. Fix: choose a network, as in "
            "--config=configs/megc2019.py:ststnet."
        )
    if FOLDS.value < 0:
        raise UserError(f"--folds is {FOLDS.value}; it must be at least 1.")
    classes, clip = len(class_names(config)), networks.clip_shape(config)
    shape = _format_shape(clip)
    print(f"{config.name}, preset {config.preset}: a clip is {shape}; {classes} classes\n")
    make = networks.constructor(config, classes)
    if LAYERS.value:
        print(layer_table(make, clip))
    if networks.is_baseline_network(config):
        return print(baseline_summary(make, clip, FOLDS.value))
    settings = networks.model_settings(config, classes)
    print(summary(settings, clip, config.train.batch_size, FOLDS.value))


def summary(
    settings: MSRes3DSettings, clip_shape: Sequence[int], batch_size: int, folds: int
) -> str:
    """Describe the network in plain text, at most 80 columns wide.

    Args:
      settings: Settings of the network.
      clip_shape: Shape `[t, h, w, c]` of its input.
      batch_size: Clips of one fold in a training step.
      folds: Number of folds, or 0 if unknown.
    """
    calls = cost.calls(settings, clip_shape)
    memory = [batch_size * cost.activation_bytes(calls, remat=remat) for remat in (False, True)]
    network = functional(lambda rngs: MSRes3D(settings, rngs=rngs))
    return "\n\n".join(
        [
            _stage_table(cost.parts(calls)),
            _counting_note(),
            _memory_note(memory, settings, batch_size),
            _state_note(network, folds),
        ]
    )


def baseline_summary(make: Callable[[nnx.Rngs], Any], clip_shape: Sequence[int], folds: int) -> str:
    """Describe a baseline network in plain text: its parts, cost and state.

    Args:
      make: Constructor of the network.
      clip_shape: Shape `[t, h, w, c]` of its input.
      folds: Number of folds, or 0 if unknown.
    """
    network = functional(make)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    counts = {name: count_parameters(part) for name, part in params.items()}
    total = sum(counts.values())
    rows = [("part", "parameters", "share")]
    rows += [(name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.items()]
    rows.append(("total", f"{total:,}", "100.0%"))
    macs = cost.multiply_adds(make, clip_shape)
    note = (
        f"Multiply-adds of a clip, forward: {macs / 1e6:,.3f} M. A training step takes about three "
        "times that."
    )
    return "\n\n".join([_table(rows, left_columns=1), _wrap(note), _state_note(network, folds)])


def layer_table(make: Callable[[nnx.Rngs], Any], clip_shape: Sequence[int]) -> str:
    """List every layer that has weights, in the order of the forward pass.

    Args:
      make: Constructor of the network.
      clip_shape: Shape `[t, h, w, c]` of its input.
    """
    tables: list[str] = []

    def forward(x: jax.Array) -> jax.Array:
        model = make(nnx.Rngs(0))
        paths = {
            path
            for path, module in nnx.iter_modules(model)
            if any(isinstance(value, nnx.Param) for value in vars(module).values())
        }
        table = nnx.tabulate(
            model,
            x,
            row_filter=lambda row: row.path in paths,
            console_kwargs={"width": _LAYERS_WIDTH, "force_terminal": False},
        )
        tables.append(table)
        return x

    # Without `eval_shape`, `tabulate` would compute the forward pass.
    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32))
    return tables[0]


def _stage_table(parts: Sequence[cost.Part]) -> str:
    parameters, macs = sum(part.parameters for part in parts), sum(part.macs for part in parts)
    unit, divisor = ("G", 1e9) if macs >= 1e9 else ("M", 1e6)
    counts = (f"{unit}MAC", f"{unit}FLOP", "share")
    rows = [("part", "output t x h x w x c", "parameters", "share", *counts)]
    rows += [
        (
            part.name,
            _format_shape(part.output),
            f"{part.parameters:,}",
            f"{part.parameters / parameters:.1%}",
            f"{part.macs / divisor:.3f}",
            f"{2 * part.macs / divisor:.3f}",
            f"{part.macs / macs:.1%}",
        )
        for part in parts
    ]
    sums = (f"{macs / divisor:.3f}", f"{2 * macs / divisor:.3f}")
    rows.append(("total", "", f"{parameters:,}", "100.0%", *sums, "100.0%"))
    return _table(rows, left_columns=2)


def _counting_note() -> str:
    return _wrap(
        "MAC: multiply-adds of the convolutions and fully connected layers, forward, for one clip, "
        "whatever computes them; FLOP = 2 x MAC. Normalisations, poolings and sums do not count. "
        "A training step takes about three times that a clip, with model.remat four."
    )


def _memory_note(memory: Sequence[int], settings: MSRes3DSettings, batch_size: int) -> str:
    without_remat, with_remat = (_format_bytes(size) for size in memory)
    return _wrap(
        f"Kept for the backward pass of {batch_size} clips in {settings.dtype}: {without_remat}; "
        f"with model.remat {with_remat}. This run: model.remat is {settings.remat}. Counted by "
        "shape: the "
        "output of every convolution, normalisation, ReLU, pooling, weighing and sum; with remat "
        "those of the stages, and all within the largest stage. What a compiler adds (workspace, "
        "unrolled patches) or saves is not counted. On a CPU XLA undoes model.remat."
    )


def _state_note(network: Network, folds: int) -> str:
    params, stats = (_tree_bytes(tree) for tree in jax.eval_shape(network.init, jax.random.key(0)))
    state = (1 + _MOMENTS) * params + stats
    lines = (
        f"State of a fold: {_format_bytes(state)} (parameters, two moments of Adam, statistics)."
    )
    if folds:
        lines += f" All {folds} folds: {_format_bytes(folds * state)}, spread over the devices."
    return _wrap(lines)


def _tree_bytes(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _format_bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"


def _format_shape(sizes: Iterable[int], separator: str = " x ") -> str:
    return separator.join(map(str, sizes))


def _table(rows: Sequence[Sequence[str]], left_columns: int) -> str:
    """Format rows as columns, the first `left_columns` of them left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = (
        "  ".join(
            cell.ljust(width) if column < left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH)


if __name__ == "__main__":
    sys.exit(command.run(main))
