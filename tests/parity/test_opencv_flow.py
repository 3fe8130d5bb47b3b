"""TV-L1 against OpenCV's, which its contrib package alone has, on faces whose motion is known."""

import numpy as np
import pytest

from benchmarks import flow, flow_clips
from data_prep.common.cv import cv2

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="needs opencv-contrib-python-headless"),
]


@pytest.fixture(scope="module")
def pairs():
    return flow_clips.make(seed=7, subjects=2, clips=4, size=134)


def errors(method, pairs):
    found = np.stack([method(*pair) for pair in zip(pairs.first, pairs.second)])
    return flow_clips.errors(found, pairs)


@pytest.mark.parametrize("theirs", [{}, flow.TUNED], ids=["defaults", "tuned"])
def test_error_is_at_most_opencvs_in_every_class(pairs, theirs):
    our_errors = errors(flow.ours(), pairs)
    their_errors = errors(flow.opencv_tvl1(**theirs), pairs)
    for name, mask in flow_clips.groups(pairs).items():
        assert our_errors[mask].mean() <= their_errors[mask].mean(), name


def test_flows_are_alike(pairs):
    """Without the gain the two solve the same problem."""
    settings = {"gain": False, "smoothness": 0.15, "tightness": 0.3}
    ours = flow.ours(**settings)(pairs.first[1], pairs.second[1])
    theirs = flow.opencv_tvl1()(pairs.first[1], pairs.second[1])
    inner = (slice(15, -15), slice(15, -15))
    difference = np.linalg.norm(ours - theirs, axis=-1)[inner].mean()
    assert difference < 0.3 * np.linalg.norm(theirs, axis=-1)[inner].mean()
