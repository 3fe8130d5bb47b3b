"""The command that prepares face videos, without any training.

`python -m data_prep --config=configs/samm.py` makes shards of a database, and
`python -m data_prep --video=face.mp4 --out=clip/` key frames and optical flow of one video.
"""

import sys
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep import config as configs
from data_prep.common import command
from data_prep.common.errors import UserError

VIDEO = flags.DEFINE_string(
    "video", None, "A video, or a folder of frames, to prepare by itself; --config is not needed."
)
OUT = flags.DEFINE_string("out", None, "The folder to make.")
ONSET = flags.DEFINE_integer(
    "onset",
    None,
    "Frame of --video at which the movement begins, by default the first. A video's first frame is "
    "0; in a folder the number is that in the file's name.",
    lower_bound=0,
)
APEX = flags.DEFINE_integer("apex", None, "Frame of its peak, if known.", lower_bound=0)
OFFSET = flags.DEFINE_integer("offset", None, "Its last frame, by default the last.", lower_bound=0)
FPS = flags.DEFINE_float(
    "fps",
    None,
    "Frames a second of --video: a folder does not say it, and slow motion says another.",
)
LANDMARKS = flags.DEFINE_string(
    "landmarks",
    None,
    "Of --video: 68 lines 'x,y' of its onset frame, or OpenFace's CSV of all of it.",
)
TFRECORD = flags.DEFINE_string(
    "tfrecord", None, "A folder to make: the set of --config once more, as TFRecord for TensorFlow."
)
PREVIEW = flags.DEFINE_bool(
    "preview", False, "Draw a sheet and a film of every clip; --config.data.preview=4 draws four."
)
CHECK = flags.DEFINE_bool(
    "check", False, "Only look whether the release of --config is complete; nothing is written."
)
VIDEO_FLAGS = (ONSET, APEX, OFFSET, FPS, LANDMARKS)


def main(config: ConfigDict) -> None:
    """Prepare one video, or the set of a configuration, and say where it is; or --check alone."""
    logging.set_verbosity(logging.WARNING)  # else JAX names every back end that it did not find
    if CHECK.value:
        return _check(config)
    if VIDEO.value is not None:
        return _prepare_video(config)
    for flag in VIDEO_FLAGS:
        if flag.value is not None:
            raise UserError(f"--{flag.name} is about a video: add --video=face.mp4 --out=clip/")
    # Here, so that a missing system library is answered like any mistake.
    from data_prep.pipeline.prepare import prepare
    from data_prep.shards import tfrecord

    out = _path(TFRECORD)
    if out:
        tfrecord.check(out)
    if PREVIEW.value:
        if configs.is_images(config.prep):
            raise UserError("--preview draws videos; these clips are images already. Drop it.")
        config.data.preview = -1
    prepared = prepare(config)
    print(f"{prepared.counts['written']} clips in {prepared.seconds:.1f} s: {prepared.path}")
    if out:
        print(f"The same as TFRecord: {tfrecord.write(prepared.path, out)}")


def _check(config: ConfigDict) -> None:
    for flag in (VIDEO, TFRECORD, PREVIEW):
        if flag.value:
            raise UserError(f"--check looks at a release and prepares nothing: drop --{flag.name}.")
    from data_prep.pipeline import release_check

    release_check.check(config)


def _path(flag: flags.FlagHolder[str | None]) -> Path | None:
    """The path that a flag gives, if any."""
    return command.expand_path(flag.value) if flag.value else None


def _prepare_video(config: ConfigDict) -> None:
    if TFRECORD.value:
        raise UserError("--tfrecord is about the set of a --config, not about a video.")
    path, out = _path(VIDEO), _path(OUT)
    if not path:
        raise UserError("Which video? Give its file, or a folder of frames: --video=face.mp4")
    if not out:
        raise UserError("Where to? Add the folder to make: --out=clip/")
    configs.validate(config)
    if configs.is_images(config.prep):
        raise UserError("--video needs a recipe for videos: leave --config out, or name another.")
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
