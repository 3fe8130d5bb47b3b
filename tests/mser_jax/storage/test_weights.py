import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from data_prep.common.errors import UserError
from helpers.made_run import small
from mser_jax.config import networks
from mser_jax.models.network import count_parameters
from mser_jax.storage import weights

NETWORK = networks.network(small(), 3)
PARAMS, STATS = jax.jit(NETWORK.init)(jax.random.key(5))


@pytest.fixture
def file(tmp_path):
    weights.save(tmp_path / "w.safetensors", PARAMS, STATS)
    return tmp_path / "w.safetensors"


def test_weights_come_back_in_their_places_to_the_bit(file):
    params, stats = weights.load(file, NETWORK)
    for saved, loaded in ((PARAMS, params), (STATS, stats)):
        assert jax.tree.structure(saved) == jax.tree.structure(loaded)
        jax.tree.map(np.testing.assert_array_equal, saved, loaded)


def test_names_say_where_an_array_belongs(file):
    names = load_file(file)
    assert "params.heads.0.first.kernel" in names
    assert any(name.startswith("stats.stem.conv") for name in names)
    assert count_parameters(PARAMS) == sum(
        array.size for name, array in names.items() if name.startswith("params.")
    )


@pytest.mark.parametrize("fault", ["absent", "shape", "type", "strange"])
def test_another_networks_weights_are_refused_with_the_first_difference(file, fault):
    arrays, name = load_file(file), "params.heads.0.first.kernel"
    if fault == "absent":
        del arrays[name]
    elif fault == "shape":
        arrays[name] = arrays[name][:, :1]
    elif fault == "type":
        arrays[name] = arrays[name].astype(np.float16)
    else:
        name = "params.other"
        arrays[name] = np.zeros(2, np.float32)
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, file)
    with pytest.raises(UserError, match=rf"{name} is .*Fix"):
        weights.load(file, NETWORK)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x04\x95pickle"])
def test_what_is_no_safetensors_is_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(UserError, match=r"w: no weights can be read.*Fix"):
        weights.load(tmp_path / "w", NETWORK)
