"""Optical flow: our TV-L1, OpenCV's, scikit-image's, DIS and Farneback.

    taskset -c 0 python -m benchmarks.flow errors    against the known motion of synthetic faces
    taskset -c 0 python -m benchmarks.flow speed     milliseconds per pair
    python -m benchmarks.flow batches                pairs per second, for a GPU

OpenCV's TV-L1 is only in its contrib package, which shares its module with opencv-python. Use a
separate environment: `pip install -e . && pip uninstall -y opencv-python && pip install
opencv-contrib-python-headless`. Without the contrib package its rows are left out.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from skimage.registration import optical_flow_tvl1

from benchmarks import flow_clips, timing
from data_prep import config
from data_prep.common.cv import cv2
from data_prep.stages.flow import tvl1
from data_prep.stages.flow_images import PYRAMID_STEP

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
Rows = list[Sequence[object]]

HELD_OUT = 202  # Seed of the clips. The recipe's fields were tuned on seed 101.
TV_L1 = "OpenCV TV-L1"
TUNED = {"Theta": 0.15, "Lambda": 0.25, "WarpingsNumber": 3}  # Tuned on seed 101.
# Bytes per pixel that one inner iteration moves if the flow and its dual take one pass each: the
# first pass reads 4 constants and 6 fields and writes 2, the second reads 6 and writes 4.
TRAFFIC = 4 * (4 + 6 + 2 + 6 + 4)


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("errors", "speed", "batches"))
    parser.add_argument("--seed", type=int, default=HELD_OUT, help="seed of the synthetic clips")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--bandwidth", type=float, help="batches: bandwidth of the device's memory, GB/s"
    )
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    rows = {"errors": _errors, "speed": _speed, "batches": _batches}[flags.what](flags)
    if not hasattr(cv2, "optflow"):
        print(
            f"{TV_L1} is not installed. Fix: see the docstring of benchmarks/flow.py.",
            file=sys.stderr,
        )
    packages = ["jax", "jaxlib", "scikit-image"]
    heading = timing.heading(jax.devices()[0].device_kind, packages)
    print(f"{heading} OpenCV {cv2.__version__}.", end="\n\n")
    print(timing.table(rows))


def methods() -> dict[str, Method]:
    """Return the available methods by name.

    A method maps two frames, float32 `[h, w]` in 0..255, to the flow `[h, w, 2]`.
    """
    available: dict[str, Method] = {
        "ours": ours(),
        "ours, gain off": ours(gain=False),
        "ours, epsilon 0.01": ours(epsilon=0.01),
        "scikit-image TV-L1": _scikit_image,
        "DIS": _dis(),
        "Farneback": _farneback(15),
        "Farneback, window 11": _farneback(11),
    }
    if hasattr(cv2, "optflow"):
        available[TV_L1] = opencv_tvl1()
        available[f"{TV_L1}, tuned, evened"] = _with_equal_brightness(opencv_tvl1(**TUNED))
    return available


def ours(**changes: Any) -> Method:
    """Create our TV-L1 with the recipe's fields, except for `changes`."""
    settings = {**config.recipe().flow.to_dict(), **changes}
    del settings["reference"]
    return lambda first, second: np.asarray(tvl1(first[None], second[None], **settings))[0]


def opencv_tvl1(**changes: float) -> Method:
    """Create OpenCV's TV-L1 with its defaults, except for `changes` (`Theta=0.15`)."""
    method = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    for name, value in changes.items():
        getattr(method, f"set{name}")(value)
    return lambda first, second: method.calc(_to_uint8(first), _to_uint8(second), None)


def _with_equal_brightness(method: Method) -> Method:
    """Wrap a method: scale the second frame to the mean brightness of the first."""
    return lambda first, second: method(first, second * (first.mean() / second.mean()))


def _scikit_image(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    down, right = optical_flow_tvl1(first / 255, second / 255)
    return np.stack([right, down], axis=-1)


def _dis() -> Method:
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore
    return lambda first, second: method.calc(_to_uint8(first), _to_uint8(second), None)  # type: ignore


def _farneback(window: int) -> Method:
    fixed = (0.5, 3, window, 3, 5, 1.1, 0)
    return lambda first, second: cv2.calcOpticalFlowFarneback(
        _to_uint8(first),
        _to_uint8(second),
        None,  # type: ignore[arg-type]
        *fixed,
    )


def _to_uint8(frame: np.ndarray) -> np.ndarray:
    return np.rint(frame).clip(0, 255).astype(np.uint8)


def _errors(flags: argparse.Namespace) -> Rows:
    """Compute mean endpoint errors in the expression's area, px, by class and length."""
    subjects, clips, size = (1, 4, 48) if flags.toy else (4, 8, 134)
    pairs = flow_clips.make(flags.seed, subjects, clips, size)
    masks = flow_clips.groups(pairs)
    titles = [f"{name} ({mask.sum()})" for name, mask in masks.items()]
    rows: Rows = [("endpoint error, px (pairs)", *titles, f"all ({len(pairs.first)})")]
    for name, method in methods().items():
        flows = np.stack([method(*pair) for pair in zip(pairs.first, pairs.second)])
        error = flow_clips.errors(flows, pairs)
        means = [error[mask].mean() for mask in masks.values() if mask.any()]
        rows.append((name, *(f"{mean:.3f}" for mean in (*means, error.mean()))))
        print(" | ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    return rows


def _speed(flags: argparse.Namespace) -> Rows:
    """Measure ms of CPU per pair and the ratio to ours, for a short and a long motion."""
    # With their margins the crops have sides of 134, 164 and 255 px.
    sizes, clips = ((32,), 1) if flags.toy else ((110, 134, 209), 4)
    rows: Rows = [("side, px", "longest motion, px", "method", "ms a pair", "ratio")]
    for size in sizes:
        pairs = flow_clips.make(flags.seed, 1, clips, size)
        lengths = np.linalg.norm(pairs.motion, axis=-1).max((1, 2))
        for index in (lengths.argmin(), lengths.argmax()):
            seconds = _time_methods(pairs.first[index], pairs.second[index], flags.rounds)
            for name, duration in seconds.items():
                labels = (pairs.first.shape[1], f"{lengths[index]:.1f}", name)
                rows.append((*labels, f"{1e3 * duration:.1f}", f"{duration / seconds['ours']:.2f}"))
                print(" | ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    return rows


def _time_methods(first: np.ndarray, second: np.ndarray, rounds: int) -> dict[str, float]:
    runs = {name: functools.partial(run, first, second) for name, run in methods().items()}
    return timing.side_by_side(runs, rounds, time.process_time)


def _batches(flags: argparse.Namespace) -> Rows:
    """Measure pairs per second in batches, and the share of the memory's bandwidth."""
    size, batches = (48, (2, 4)) if flags.toy else (134, (64, 128, 256, 512))
    settings = config.recipe().flow.to_dict()
    del settings["reference"]
    pairs = flow_clips.make(flags.seed, 1, 4, size)
    rows: Rows = [("batch", "pairs a second", "GB/s of the unfused loop", "of the bandwidth")]
    for batch in batches:
        images = [jax.device_put(np.resize(part, (batch, *part.shape[1:]))) for part in pairs[:2]]
        run = {"ours": lambda images=images: jax.block_until_ready(tvl1(*images, **settings))}
        seconds = timing.side_by_side(run, flags.rounds, time.perf_counter)["ours"]
        rate = batch * _traffic(images[0].shape[1], settings) / seconds / 1e9
        share = f"{rate / flags.bandwidth:.0%}" if flags.bandwidth else "give --bandwidth"
        rows.append((batch, f"{batch / seconds:.0f}", f"{rate:.0f}", share))
    return rows


def _traffic(side: int, settings: dict[str, Any]) -> float:
    """Count the bytes that the inner loop moves for one pair, over all levels."""
    pixels = sum((side * PYRAMID_STEP**level) ** 2 for level in range(settings["scales"]))
    return TRAFFIC * pixels * settings["warps"] * settings["iterations"]


if __name__ == "__main__":
    main()
