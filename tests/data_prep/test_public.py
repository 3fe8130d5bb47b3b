"""The public names of data_prep: the example runs, and the flow's defaults are the recipe's."""

import doctest
import inspect

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import data_prep
from data_prep import config


def moved_image() -> tuple[np.ndarray, np.ndarray]:
    """A smooth random image, and the same one moved by (1, -2) px."""
    image = gaussian_filter(np.random.default_rng(3).normal(size=(70, 70)), 3)
    image = 127 + 100 * image / np.abs(image).max()
    return image[3:-3, 3:-3].astype(np.float32), image[5:-1, 2:-4].astype(np.float32)


def test_the_example_finds_the_known_movement():
    first, second = moved_image()
    names = {"first": first, "second": second}
    test = doctest.DocTestParser().get_doctest(data_prep.__doc__ or "", names, "data_prep", None, 0)
    told: list[str] = []
    doctest.DocTestRunner().run(test, out=told.append)
    assert test.examples
    assert not told, "".join(told)


@pytest.mark.parametrize("name", ["flow", "magnify"])
def test_the_defaults_are_those_of_the_recipe(name):
    function = {"flow": data_prep.tvl1, "magnify": data_prep.magnify}[name]
    wanted = config.recipe()[name].to_dict()
    wanted.pop("reference", None)  # of the flow of a clip
    parameters = inspect.signature(function).parameters
    assert {field: parameters[field].default for field in wanted} == wanted


def test_every_public_name_is_there_and_says_what_it_is():
    for name in data_prep.__all__:
        assert inspect.getdoc(getattr(data_prep, name)), name
