"""How the databases are released, as far as synthetic trees need it: folders, names, sheets.

Read from public loaders; nothing here comes from a release. Templates hold, in braces: `subject`,
a name; `number`, of the subject; `count`, of the clip within the subject; `clip`, its name;
`letter`, the `count` as a letter; `emotion`; `short`, its abbreviation; `onset`, that frame's
number; `frame`, the number of each frame.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from types import MappingProxyType

from data_prep.synthetic.release.sheets import Sheet

SHORT = {"positive": "po", "surprise": "sur"}  # in SMIC's clip names; else the first two letters


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of one database.

    Attributes:
      title: folder of the database in a composite.
      fps: frames a second of its camera.
      emotions: class of a synthetic clip -> the words that the database has for such clips.
      outside_emotion: a word for no class of the paper; '' where every word is a class.
      subject: template of a subject's name.
      cell: template of a subject in the sheet.
      clip: template of a clip's name.
      folders: release -> template of a clip's folder; 'raw', and 'cropped' (to the face) or another
        way in which the same frames are handed out.
      files: release -> template of a frame's file.
      sheet: of the annotation, or None.
      first_frame: number of a clip's first frame.
      digits: to which frame numbers are filled up with zeros.
      first_subject: number of the first subject.
      grey: whether frames are grey.
      trimmed: whether a folder ends where the movement ends, from onset to offset.
      first_person: number of the first synthetic person: no two databases show the same one, and dlib
        finds the first faces of each at 96 px.
    """

    title: str
    fps: float
    emotions: Mapping[str, tuple[str, ...]]
    outside_emotion: str
    subject: str
    cell: str
    clip: str
    folders: Mapping[str, str]
    files: Mapping[str, str]
    sheet: Sheet | None
    first_frame: int
    digits: int
    first_person: int
    first_subject: int = 1
    grey: bool = False
    trimmed: bool = False

    def names(self, subject: int, count: int, emotion: str) -> dict[str, str]:
        """What the templates hold, for the `count`-th clip of the `subject`-th subject, from 0."""
        number = self.first_subject + subject
        names = {
            "subject": self.subject.format(number=number),
            "emotion": emotion,
            "short": SHORT.get(emotion, emotion[:2]),
            "letter": string.ascii_lowercase[count % 26] * (1 + count // 26),
        }
        names["clip"] = self.clip.format(number=number, count=count + 1, **names)
        return {**names, "number": str(number), "cell": self.cell.format(number=number)}


_SMIC = Layout(
    title="SMIC",
    fps=100.0,
    emotions={name: (name,) for name in ("negative", "positive", "surprise")},
    outside_emotion="neutral",
    subject="s{number:02d}",
    cell="s{number:02d}",
    clip="s{number}_{short}_{count:02d}",
    folders={
        "raw": "SMIC_all_raw/HS/s{number}/micro/{emotion}/{clip}",
        "cropped": "SMIC_all_cropped/HS/s{number}/micro/{emotion}/{clip}",
    },
    files={"raw": "image{frame}.bmp", "cropped": "reg_image{frame}.bmp"},
    sheet=None,
    first_frame=76518,
    digits=6,
    first_person=0,
    trimmed=True,
)
_SAMM = Layout(
    title="SAMM",
    fps=200.0,
    emotions={
        "negative": ("Anger", "Contempt", "Disgust", "Fear", "Sadness"),
        "positive": ("Happiness",),
        "surprise": ("Surprise",),
        "other": ("Other",),
    },
    outside_emotion="Confusion",
    subject="{number:03d}",
    cell="{number:03d}",
    clip="{number:03d}_1_{count}",
    folders={"raw": "SAMM/{subject}/{clip}"},
    files={"raw": "{subject}_{frame}.jpg"},
    sheet=Sheet(
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        "Subject, Filename, Inducement Code, Onset Frame, Apex Frame, Offset Frame, "
        "Duration, Micro, Action Units, Estimated Emotion, Objective Classes, Notes",
        rows_above_header=13,
    ),
    first_frame=5562,
    digits=5,
    first_person=100,
    first_subject=6,
    grey=True,
)
_CASME2 = Layout(
    title="CASME2",
    fps=200.0,
    emotions={
        "negative": ("disgust",),
        "positive": ("happiness",),
        "surprise": ("surprise",),
        "other": ("others", "repression"),
    },
    outside_emotion="fear",
    subject="sub{number:02d}",
    cell="{number:02d}",
    clip="EP02_{count:02d}f",
    folders={"raw": "CASME2_RAW_selected/{subject}/{clip}", "cropped": "Cropped/{subject}/{clip}"},
    files={"raw": "img{frame}.jpg", "cropped": "reg_img{frame}.jpg"},
    sheet=Sheet(
        "CASME2-coding-20140508.xlsx",
        "Subject, Filename, , OnsetFrame, ApexFrame, OffsetFrame, , Action Units, "
        "Estimated Emotion",
    ),
    first_frame=46,
    digits=0,
    first_person=220,
    trimmed=True,
)
_CASME3 = Layout(
    title="CASME3",
    fps=30.0,
    emotions={
        "negative": ("disgust", "fear", "anger", "sad"),
        "positive": ("happy",),
        "surprise": ("surprise",),
        "other": ("others", "Others"),
    },
    outside_emotion="confusion",
    subject="spNO.{number}",
    cell="spNO.{number}",
    clip="{letter}",
    folders={
        "raw": "part_A/{subject}/{clip}/color",
        "clips": "Part_A_ME_clip/frame/{subject}_{clip}_{onset}",
    },
    files={"raw": "{frame}.jpg", "clips": "{frame}.jpg"},
    sheet=Sheet(
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        "Subject, Filename, Onset, Apex, Offset, AU, Objective class, emotion",
    ),
    first_frame=175,
    digits=0,
    first_person=330,
)
_MMEW = Layout(
    title="MMEW",
    fps=90.0,
    emotions={
        "negative": ("anger", "disgust", "fear", "sadness"),
        "positive": ("happiness",),
        "surprise": ("surprise",),
        "other": ("others",),
    },
    outside_emotion="confusion",
    subject="S{number:02d}",
    cell="S{number:02d}",
    clip="S{number:02d}-{count:02d}-001",
    folders={
        "raw": "Micro_Expression/{emotion}/{clip}",
        "subjects": "{subject}/{emotion}/{clip}",
    },
    files={"raw": "{frame}.jpg", "subjects": "{frame}.jpg"},
    sheet=Sheet(
        "MMEW_Micro_Exp.xlsx",
        "Subject, Filename, OnsetFrame, ApexFrame, OffsetFrame, Action Units, "
        "Estimated Emotion, remarks",
    ),
    first_frame=1,
    digits=0,
    first_person=425,
)
_FOLDER = Layout(
    title="folder",
    fps=100.0,
    emotions={name: (name,) for name in ("negative", "positive", "surprise", "other")},
    outside_emotion="",
    subject="s{number:02d}",
    cell="s{number:02d}",
    clip="{count:02d}",
    folders={"raw": "{subject}/{clip}"},
    files={"raw": "{frame}.png"},
    sheet=Sheet(
        "labels.csv",
        "clip, subject, label, onset, apex, offset, fps, path",
    ),
    first_frame=0,
    digits=4,
    first_person=500,
    first_subject=0,
)
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "smic": _SMIC,
        "samm": _SAMM,
        "casme2": _CASME2,
        "casme3": _CASME3,
        "mmew": _MMEW,
        "folder": _FOLDER,
    }
)
