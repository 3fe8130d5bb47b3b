"""The marks of an annotation, held against the frames that are there."""

import pytest

from data_prep.common.errors import UserError
from data_prep.datasets.base.marks import snap_marks

FRAMES = [98, 99, 100, 102, 103, 107]
AT_ONSET = "equals the onset; used as stated"
NEAREST = "no such frame; the nearest is used"


@pytest.mark.parametrize(
    ("stated", "marks", "changes"),
    [
        ((98, 100, 103), (98, 100, 103), []),
        ((98, 98, 103), (98, 98, 103), [("apex", "98", "98", AT_ONSET)]),
        (
            (2, 98, 103),
            (98, 98, 103),
            [("onset", "2", "98", NEAREST), ("apex", "98", "98", AT_ONSET)],
        ),
        ((None, None, None), (98, None, 107), []),
        ((99, None, 103), (99, None, 103), []),
        ((98, 97, 103), (98, None, 103), [("apex", "97", "", "not between onset and offset")]),
        ((98, 104, 103), (98, None, 103), [("apex", "104", "", "not between onset and offset")]),
        ((98, 100, 190), (98, 100, 107), [("offset", "190", "107", NEAREST)]),
        ((1, 100, 103), (98, 100, 103), [("onset", "1", "98", NEAREST)]),
        ((98, 101, 103), (98, 100, 103), [("apex", "101", "100", NEAREST)]),  # the earlier of two
        ((98, 106, 107), (98, 107, 107), [("apex", "106", "107", NEAREST)]),
    ],
)
def test_marks_stay_or_move_to_the_nearest_frame_and_say_so(stated, marks, changes):
    assert snap_marks(FRAMES, *stated) == (marks, changes)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ((103, None, 98), "the onset is not before the offset"),
        ((103, 103, 103), "the onset is not before the offset"),
        ((103, None, 0), "the onset is not before the offset"),
        ((108, 109, 120), "none of the frames"),
        ((1, 2, 97), "none of the frames"),
        ((107, None, 120), "a single frame is left"),
    ],
)
def test_marks_that_leave_no_movement_are_refused(stated, message):
    with pytest.raises(UserError, match=message):
        snap_marks(FRAMES, *stated)
