import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax.data.augment import Clips, View, magnitude, strain

SIZE, MARGIN, STEPS = 6, 2, 3
SIDE = SIZE + 2 * MARGIN
VARIANTS = ("original", "left", "right", "up", "down", "mirror", "flip")
# rows and columns where each variant's window starts
CORNERS = {"left": (2, 0), "right": (2, 4), "up": (0, 2), "down": (4, 2)}


def clips(depth, count=3, dtype: type = np.float16):
    shape = (count, STEPS, SIDE, SIDE, depth)
    pixels = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) % 251
    return Clips(pixels.astype(dtype), np.array([1.0, 0.5, 2.0], np.float32), np.arange(count))


def window(pixels, name):
    row, column = CORNERS.get(name, (MARGIN, MARGIN))
    cut = pixels[:, row : row + SIZE, column : column + SIZE].astype(np.float32)
    return {"mirror": cut[:, :, ::-1], "flip": cut[:, ::-1]}.get(name, cut)


def seen(view, given, clip, variant):
    on_device = jax.tree.map(jnp.asarray, given)
    return np.asarray(jax.jit(view)(on_device, jnp.asarray(clip), jnp.asarray(variant)))


def test_each_variant_is_its_window_with_the_signs_of_the_flow():
    given = clips(2)
    inputs = seen(View(SIZE, VARIANTS, ("u", "v")), given, [1] * 7, range(7))
    assert inputs.shape == (7, STEPS, SIZE, SIZE, 2)
    signs = {"mirror": (-1, 1), "flip": (1, -1)}
    for name, got in zip(VARIANTS, inputs, strict=True):
        wanted = 0.5 * window(given.pixels[1], name) * np.array(signs.get(name, (1, 1)))
        np.testing.assert_array_equal(got, wanted, err_msg=name)


def test_frames_are_flipped_without_a_change_of_sign():
    given = clips(1, dtype=np.uint8)
    inputs = seen(View(SIZE, VARIANTS, ()), given, [2] * 7, range(7))
    for name, got in zip(VARIANTS, inputs, strict=True):
        np.testing.assert_array_equal(got, 2 * window(given.pixels[2], name), err_msg=name)


def test_channels_come_in_the_order_asked_and_of_the_variant_seen():
    given = clips(2)
    view = View(SIZE, ("original", "mirror"), ("magnitude", "v", "strain"))
    inputs = seen(view, given, [0, 2], [1, 1])
    for clip, scale, got in zip((0, 2), (1, 2), inputs, strict=True):
        flow = jnp.asarray(window(given.pixels[clip], "mirror") * np.array((-1, 1), np.float32))
        wanted = np.concatenate([magnitude(flow), flow[..., 1:], strain(flow)], axis=-1)
        np.testing.assert_allclose(got, scale * wanted, rtol=1e-5, atol=1e-4)


def test_a_clip_is_seen_the_same_alone_in_a_batch_and_under_vmap():
    given, view = jax.tree.map(jnp.asarray, clips(2)), View(SIZE, VARIANTS, ("u", "v", "strain"))
    clip, variant = jnp.array([[0, 1], [2, 0]]), jnp.array([[5, 0], [6, 3]])
    lifted = jax.jit(jax.vmap(view, in_axes=(None, 0, 0)))(given, clip, variant)
    for fold, slot in np.ndindex(2, 2):
        alone = view(given, clip[fold, slot : slot + 1], variant[fold, slot : slot + 1])[0]
        np.testing.assert_allclose(lifted[fold, slot], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("affine", [(0.3, 0.0, 0.0, -0.2), (0.0, 0.4, -0.4, 0.0), (1, 2, 4, 8)])
def test_strain_of_an_affine_field_is_exact(affine):
    ux, uy, vx, vy = affine
    y, x = np.mgrid[:5, :7].astype(np.float32)
    flow = jnp.stack([ux * x + uy * y + 1, vx * x + vy * y - 2], axis=-1)[None]
    wanted = np.sqrt(ux**2 + vy**2 + 2 * ((uy + vx) / 2) ** 2)
    np.testing.assert_allclose(strain(flow), np.full((1, 5, 7, 1), wanted), atol=1e-5)


def test_strain_is_blind_to_a_rotation_and_magnitude_is_not():
    y, x = np.mgrid[:5, :5].astype(np.float32)
    flow = jnp.stack([-y, x], axis=-1)[None]
    assert np.abs(strain(flow)).max() < 1e-5
    np.testing.assert_allclose(magnitude(flow)[0, ..., 0], np.hypot(x, y), rtol=1e-6)


def test_images_of_flow_are_negated_about_the_middle_of_their_range():
    shape = (2, 1, SIZE, SIZE, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    given = Clips(pixels, np.array([1.0, 1 / 255], np.float32), np.arange(2))
    variants = ("original", "mirror", "flip")
    view = View(SIZE, variants, ("u", "v", "strain"), images=True)
    original, mirror, flip = seen(view, given, [1] * 3, range(3))[:, 0] * 255
    image = pixels[1, 0].astype(np.float32)
    np.testing.assert_allclose(original, image, rtol=1e-5)
    u, v, strains = np.moveaxis(image, -1, 0)
    for got, wanted in (
        (mirror, np.stack([255 - u, v, strains], axis=-1)[:, ::-1]),
        (flip, np.stack([u, 255 - v, strains], axis=-1)[::-1]),
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)


def test_images_give_the_channels_that_are_asked_for():
    pixels = np.arange(27, dtype=np.uint8).reshape(1, 1, 3, 3, 3)
    given = Clips(pixels, np.ones(1, np.float32), np.zeros(1, np.int32))
    got = seen(View(3, ("original",), ("strain", "u"), images=True), given, [0], [0])
    np.testing.assert_array_equal(got[0, 0], pixels[0, 0][..., [2, 0]])
