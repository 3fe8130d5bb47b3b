"""SAMM: 200 fps, grey, 159 clips, classes from the sheet's estimated emotion."""

from __future__ import annotations

from types import MappingProxyType

from data_prep.datasets.sheet import SheetDatabase


class Samm(SheetDatabase):
    """Reads `<subject>/<clip>/<subject>_<frame>.jpg` and `SAMM_Micro_FACS_Codes_v2.xlsx`."""

    name = "samm"
    title = "SAMM: spontaneous micro-facial movements at 200 fps, 159 clips."
    owner = (
        "Ask the Department of Computing and Mathematics, Manchester Metropolitan University, "
        "United Kingdom (Adrian Davison, Moi Hoon Yap)."
    )
    tree = """
        SAMM/
          SAMM_Micro_FACS_Codes_v2.xlsx
          SAMM/                         (or the subjects beside the sheet)
            006/
              006_1_2/
                006_05562.jpg           (jpg, png or bmp)
                006_05563.jpg
    """
    fps = 200.0
    class_names = ("negative", "positive", "surprise", "other")
    classes = MappingProxyType(  # the paper, section 4.1
        {
            "anger": "negative",
            "contempt": "negative",
            "disgust": "negative",
            "fear": "negative",
            "sadness": "negative",
            "happiness": "positive",
            "surprise": "surprise",
            "other": "other",
            "others": "other",
        }
    )
    sheets = ("SAMM_Micro_FACS_Codes*.xlsx",)

    def subject(self, cell: str) -> str:
        """Three digits, as its folder: a spreadsheet makes '006' a 6."""
        return cell.zfill(3)
