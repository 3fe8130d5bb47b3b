"""SAMM: 200 fps, grey, 159 clips; classes come from the sheet's estimated emotion."""

from __future__ import annotations

from data_prep.datasets.base.sheet import SheetDatabase


class Samm(SheetDatabase):
    """Reader of `<subject>/<clip>/<subject>_<frame>.jpg` and `SAMM_Micro_FACS_Codes_v2.xlsx`."""

    name = "samm"
