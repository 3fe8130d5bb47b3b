"""The command that prepares face videos, without any training.

`python -m data_prep --config=configs/samm.py` writes shards of a database.
`python -m data_prep --video=face.mp4 --out=clip/` writes key frames and optical flow of one video.
"""

import sys
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep import config as configs
from data_prep.common import command
from data_prep.common.errors import UserError

VIDEO = flags.DEFINE_string(
    "video", None, "Video file, or folder of frames, to prepare. --config is not needed."
)
OUT = flags.DEFINE_string("out", None, "Folder to write.")
ONSET = flags.DEFINE_integer(
    "onset",
    None,
    "Frame of --video at which the movement begins; by default the first. In a video file the "
    "first frame is 0; in a folder a frame has the number in its file name.",
    lower_bound=0,
)
APEX = flags.DEFINE_integer("apex", None, "Frame of the movement's peak, if known.", lower_bound=0)
OFFSET = flags.DEFINE_integer(
    "offset", None, "Last frame of the movement; by default the last of --video.", lower_bound=0
)
FPS = flags.DEFINE_float(
    "fps",
    None,
    "Frames per second of --video. Needed for a folder, and for slow motion, whose file states "
    "another rate.",
)
LANDMARKS = flags.DEFINE_string(
    "landmarks",
    None,
    "Landmarks of --video: 68 lines 'x,y' of the onset frame, or OpenFace's CSV of all frames.",
)
TFRECORD = flags.DEFINE_string(
    "tfrecord", None, "Folder to write: the set of --config again, as TFRecord for TensorFlow."
)
PREVIEW = flags.DEFINE_bool(
    "preview", False, "Draw a sheet and a film of every clip; --config.data.preview=4 draws four."
)
CHECK = flags.DEFINE_bool(
    "check", False, "Only check that the release of --config is complete. Nothing is written."
)
VIDEO_FLAGS = (ONSET, APEX, OFFSET, FPS, LANDMARKS)


def main(config: ConfigDict) -> None:
    """Prepare one video or the set of a configuration, or check a release."""
    logging.set_verbosity(logging.WARNING)  # Otherwise JAX lists every back end it lacks.
    if CHECK.value:
        return _check(config)
    if VIDEO.value is not None:
        return _prepare_video(config)
    for flag in VIDEO_FLAGS:
        if flag.value is not None:
            raise UserError(
                f"--{flag.name}: no video is given. Fix: add --video=face.mp4 --out=clip/"
            )
    # Imported here so that a missing system library is reported as a UserError.
    from data_prep.pipeline.prepare import prepare
    from data_prep.shards import tfrecord

    out = _path(TFRECORD)
    if out:
        tfrecord.check(out)
    if PREVIEW.value:
        if configs.is_images(config.prep):
            raise UserError(
                "--preview: it draws videos, but these clips are images. Fix: drop the flag."
            )
        config.data.preview = -1
    prepared = prepare(config)
    print(f"{prepared.counts['written']} clips in {prepared.seconds:.1f} s: {prepared.path}")
    if out:
        print(f"The same set as TFRecord: {tfrecord.write(prepared.path, out)}")


def _check(config: ConfigDict) -> None:
    for flag in (VIDEO, TFRECORD, PREVIEW):
        if flag.value:
            raise UserError(f"--check: it prepares nothing. Fix: drop --{flag.name}.")
    from data_prep.pipeline import release_check

    release_check.check(config)


def _path(flag: flags.FlagHolder[str | None]) -> Path | None:
    """Return the path given by a flag, or None."""
    return command.expand_path(flag.value) if flag.value else None


def _prepare_video(config: ConfigDict) -> None:
    if TFRECORD.value:
        raise UserError(
            "--tfrecord: it copies the set of a --config, not a video. Fix: drop the flag."
        )
    path, out = _path(VIDEO), _path(OUT)
    if not path:
        raise UserError(
            "--video: no path is given. Fix: give a video or a folder of frames, --video=face.mp4"
        )
    if not out:
        raise UserError("--out: no folder is given. Fix: add the folder to write, --out=clip/")
    configs.validate(config)
    if configs.is_images(config.prep):
        raise UserError(
            "--video: the recipe of --config is for images. Fix: leave --config out, or name one "
            "for videos."
        )
    from data_prep.pipeline import one_video

    marked = one_video.MarkedVideo(
        path=path,
        onset=ONSET.value,
        apex=APEX.value,
        offset=OFFSET.value,
        fps=FPS.value,
        landmarks=_path(LANDMARKS),
    )
    one_video.prepare(marked, out, config.prep.to_dict())


if __name__ == "__main__":
    sys.exit(command.run(main, defaults={"video": Path(configs.__file__)}))
