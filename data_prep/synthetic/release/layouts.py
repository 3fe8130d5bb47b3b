"""Layouts of the databases' releases, as far as synthetic trees need them: folders, names, sheets.

They are read from public loaders; nothing here comes from a release. Templates contain these fields
in braces:

  subject: Name of the subject.
  number: Number of the subject.
  clip: Name of the clip.
  count: Number of the clip within the subject.
  letter: That number as a letter.
  emotion: Emotion.
  short: Abbreviation of the emotion.
  onset: Number of the onset frame.
  frame: Number of the frame.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from types import MappingProxyType

from data_prep.synthetic.release.sheets import Sheet

# Abbreviations in the names of SMIC's clips. Other emotions use their first two letters.
SHORT = {"positive": "po", "surprise": "sur"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Layout of one database.

    Attributes:
      title: Folder of the database in a composite.
      fps: Frames per second of the camera.
      emotions: Class of a synthetic clip -> words that the database uses for such clips.
      outside_emotion: Word that belongs to no class of the paper; '' if every word is a class.
      subject: Template of a subject's name.
      cell: Template of a subject in the sheet.
      clip: Template of a clip's name.
      folders: Release -> template of a clip's folder. The releases are 'raw' and 'cropped' (to the
        face), or other forms in which the same frames are released.
      files: Release -> template of a frame's file.
      sheet: Sheet of the annotation, or None.
      first_frame: Number of a clip's first frame.
      digits: Number of digits to which frame numbers are padded with zeros.
      first_person: Number of the first synthetic person. No two databases show the same person, and
        dlib finds the first faces of each at 96 px.
      first_subject: Number of the first subject.
      grey: Whether frames are grey.
      trimmed: Whether a folder contains only the frames from onset to offset.
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
        """Return the fields of the templates for a clip.

        Args:
          subject: Index of the subject, from 0.
          count: Index of the clip within the subject, from 0.
          emotion: Emotion, in the words of the database.
        """
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
