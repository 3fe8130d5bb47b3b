"""The network's input from stored clips, on the device: shifts, flips, strain, scale (3.2, 2).

A stored clip is larger than the input by a margin on each side. The variant 'original' is the
window in the middle. The four shifts move it by the margin (15 px at full size). 'mirror' reflects
about the vertical axis and negates u; 'flip' reflects up-down and negates v. Raw frames are
reflected without a change of sign. An image of flow, with each channel stretched to 0..255, is
negated by 255 - u.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from data_prep.common.strain import strain as optical_strain

# variant -> (row shift, column shift, mirror, flip); shifts of the window, in units of the margin
_EFFECTS = {
    "original": (0, 0, False, False),
    "left": (0, -1, False, False),
    "right": (0, 1, False, False),
    "up": (-1, 0, False, False),
    "down": (1, 0, False, False),
    "mirror": (0, 0, True, False),
    "flip": (0, 0, False, True),
}

# Scale 'clip' divides by this percentile of the magnitude. The minimum (px) prevents a division by
# zero, and noise that is scaled up to 1.
PERCENTILE, MIN_MAGNITUDE = 95, 0.1
IMAGE_CHANNELS = ("u", "v", "strain")  # of a stored image of flow


class Clips(NamedTuple):
    """The clips of a data set, on the host or on a device.

    Attributes:
      pixels: `[n, t, s, s, 2]` flow in px (u right, v down), `[n, t, s, s, 1]` grey frames, or
        `[n, 1, s, s, 3]` images of flow (u, v, strain), both 0..255. On the host, this may be any
        object that returns a clip for an index.
      scale: `[n]`, factor of a clip's input.
      labels: `[n]` int32 class indices.
    """

    pixels: Any
    scale: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class View:
    """View that turns a clip into the input of a network.

    Attributes:
      size: Side of the window, px.
      variants: Variant of each variant index; test clips are seen as variant 0.
      channels: Channels of the input. Flow: 'u', 'v', 'strain', 'magnitude'; images of flow: those
        of `IMAGE_CHANNELS`; frames: empty.
      images: Whether the clips are images of flow.
    """

    size: int
    variants: tuple[str, ...]
    channels: tuple[str, ...]
    images: bool = False

    def __call__(
        self, clips: Clips, clip: Int[Array, " b"], variant: Int[Array, " b"]
    ) -> Float[Array, "b t h w c"]:
        """Return the inputs of a batch of clips, each in its variant.

        Args:
          clips: Clips of the data set.
          clip: Index of each clip of the batch.
          variant: Variant index of each clip of the batch.

        Returns:
          Inputs, `[b, t, size, size, channel]`.
        """
        return jax.vmap(self._view_clip, in_axes=(None, 0, 0))(clips, clip, variant)

    def _view_clip(self, clips: Clips, clip: Array, variant: Array) -> Array:
        _, steps, side, _, depth = clips.pixels.shape
        margin = (side - self.size) // 2
        moves, mirrors, flips = _variant_tables(self.variants)
        row, column = margin + margin * jnp.asarray(moves)[variant]
        window = jax.lax.dynamic_slice(
            clips.pixels,
            (clip, 0, row, column, 0),
            (1, steps, self.size, self.size, depth),
        )[0].astype(jnp.float32)
        mirror, flip = self._reflections()
        window = jnp.where(jnp.asarray(mirrors)[variant], mirror(window), window)
        window = jnp.where(jnp.asarray(flips)[variant], flip(window), window)
        return self._select_channels(window) * clips.scale[clip]

    def _reflections(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        if self.images:
            return _mirror_image, _flip_image
        signed = bool(self.channels)
        return functools.partial(_mirror, signed=signed), functools.partial(_flip, signed=signed)

    def _select_channels(self, window: Array) -> Array:
        """Return the channels of the input."""
        if self.images:
            return window[..., np.array([IMAGE_CHANNELS.index(name) for name in self.channels])]
        if self.channels:
            return jnp.concatenate([_CHANNELS[name](window) for name in self.channels], axis=-1)
        return window


def _variant_tables(variants: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    effects = [_EFFECTS[name] for name in variants]
    moves = np.array([effect[:2] for effect in effects], np.int32)
    return moves, np.array([e[2] for e in effects]), np.array([e[3] for e in effects])


def _mirror(window: Array, signed: bool) -> Array:
    return window[:, :, ::-1] * _channel_signs((-1, 1) if signed else (1,))


def _flip(window: Array, signed: bool) -> Array:
    return window[:, ::-1] * _channel_signs((1, -1) if signed else (1,))


def _mirror_image(window: Array) -> Array:
    mirrored = window[:, :, ::-1]
    return jnp.concatenate([255 - mirrored[..., :1], mirrored[..., 1:]], axis=-1)


def _flip_image(window: Array) -> Array:
    u, v, strain_ = jnp.split(window[:, ::-1], 3, axis=-1)
    return jnp.concatenate([u, 255 - v, strain_], axis=-1)


def _channel_signs(values: tuple[int, ...]) -> Array:
    return jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1)


def strain(flow: Float[Array, "t h w 2"]) -> Float[Array, "t h w 1"]:
    """Compute the optical strain of flow, per pixel."""
    return optical_strain(flow, jnp)[..., None]


def scale_factor(pixels: Any, scale: str, size: int, xp: Any) -> Any:
    """Return the number by which a clip's pixels `[t, s, s, d]` are multiplied.

    Args:
      pixels: Pixels of the clip; flow if `scale` is 'clip'.
      scale: 'none'; 'unit' (divide by 255); or 'clip' (divide by the 95th percentile of the flow's
        magnitude in the window).
      size: Side of the window, px.
      xp: Module of the array, `numpy` or `jax.numpy`.
    """
    if scale == "unit":
        return 1 / 255
    if scale == "none":
        return 1.0
    margin = (pixels.shape[1] - size) // 2
    window = pixels[:, margin : margin + size, margin : margin + size].astype(xp.float32)
    lengths = xp.sqrt(xp.sum(window**2, axis=-1))
    return 1 / xp.maximum(xp.percentile(lengths, PERCENTILE), MIN_MAGNITUDE)


def magnitude(flow: Float[Array, "t h w 2"]) -> Float[Array, "t h w 1"]:
    """Return the length of the flow vectors, px."""
    return jnp.sqrt(jnp.sum(flow**2, axis=-1, keepdims=True))


_CHANNELS: dict[str, Callable[[Array], Array]] = {
    "u": lambda flow: flow[..., :1],
    "v": lambda flow: flow[..., 1:],
    "strain": strain,
    "magnitude": magnitude,
}
