"""CASME II: 200 fps, 255 or 256 rows in the sheet, 246 or 247 of them in the paper's classes."""

from __future__ import annotations

from data_prep.datasets.base.sheet import SheetDatabase


class Casme2(SheetDatabase):
    """Reader of `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg` and `CASME2-coding-*.xlsx`."""

    name = "casme2"
