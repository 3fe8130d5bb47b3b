"""What is repaired or left out: on screen and in the sheet."""

import csv

from data_prep.datasets.base import repairs
from data_prep.datasets.base.repairs import Repair, left_out_row

ODD = [
    *(left_out_row(f"samm/006/006_{clip}", "its folder of frames is absent") for clip in range(5)),
    left_out_row('samm/007/7, "é"', "the row occurs twice", "row 9"),
    Repair("samm/011/a", "apex", "", "", "no apex is marked"),
    Repair("samm/011/b", "apex", "7", "", "not between onset and offset"),
    Repair("samm/011/c", "offset", "9", "8", "no such frame; the nearest is used"),
]


def test_table_counts_each_reason_and_names_the_first_clips():
    lines = repairs.table(ODD)
    assert lines[0] == "clips  what"
    assert lines[3] == "    5  left out: its folder of frames is absent: 006/006_0, 006/006_1,"
    assert lines[4] == "       006/006_2, ... (2 more)"
    assert [line.split()[0] for line in lines[1:] if line[4] != " "] == ["1", "1", "5", "1", "1"]
    assert max(map(len, repairs.table(ODD, width=40))) <= 40


def test_grouped_names_all_clips_unless_told_otherwise():
    told = [("empty", f"006/{clip}") for clip in range(30)]
    assert " ".join(repairs.group_lines(told)).count("006/") == 30
    assert "006/0, ... (29 more)" in " ".join(repairs.group_lines(told, max_clips=1))


def test_dropped_counts_rows_alone():
    expected = {"its folder of frames is absent": 5, "the row occurs twice": 1}
    assert repairs.count_dropped(ODD) == expected


def test_estimated_apexes_are_entered_where_none_is():
    apexes = {"samm/011/a": 12, "samm/011/b": 13, "samm/011/c": 14}
    done = repairs.with_apexes(ODD, apexes)
    assert [(repair.now, repair.reason) for repair in done[-3:]] == [
        ("12", "no apex is marked; estimated from the flow"),
        ("13", "not between onset and offset; estimated from the flow"),
        ("8", "no such frame; the nearest is used"),
    ]
    assert repairs.with_apexes(ODD, {}) == ODD


def test_sheet_holds_all_of_them(tmp_path):
    repairs.write(ODD, tmp_path / repairs.FILE)
    with (tmp_path / repairs.FILE).open(newline="", encoding="utf-8") as file:
        assert [Repair(**row) for row in csv.DictReader(file)] == ODD
