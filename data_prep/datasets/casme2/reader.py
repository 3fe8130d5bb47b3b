"""CASME II: 200 fps, 255 or 256 rows in the sheet, 246 or 247 of them in the paper's classes."""

from __future__ import annotations

from types import MappingProxyType

from data_prep.datasets.sheet import SheetDatabase


class Casme2(SheetDatabase):
    """Reads `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg` and `CASME2-coding-*.xlsx`."""

    name = "casme2"
    title = "CASME II: spontaneous micro-expressions at 200 fps, 26 subjects."
    owner = (
        "Ask the Institute of Psychology, Chinese Academy of Sciences, Beijing (Xiaolan Fu's "
        "laboratory); http://casme.psych.ac.cn/casme/e2"
    )
    tree = """
        CASME2/
          CASME2-coding-20140508.xlsx
          CASME2_RAW_selected/
            sub01/
              EP02_01f/
                img46.jpg               (jpg, png or bmp)
                img47.jpg
    """
    fps = 200.0
    class_names = ("negative", "positive", "surprise", "other")
    classes = MappingProxyType(  # the paper, section 4.1
        {
            "disgust": "negative",
            "happiness": "positive",
            "surprise": "surprise",
            "repression": "other",
            "others": "other",
            "other": "other",
        }
    )
    sheets = ("CASME2-coding-20140508*.xlsx", "CASME2-coding*.xlsx")

    def subject(self, cell: str) -> str:
        """Named as its folder: 1, '01' and 'sub01' are 'sub01'."""
        return "sub" + cell.removeprefix("sub").zfill(2)
