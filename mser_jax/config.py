"""Every field of a run, with its meaning and the paper's section (docs/paper.md), and the presets.

`data_prep.config` owns the fields of the preprocessing; they are `config.prep` here.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from data_prep import check
from data_prep import config as data_config
from data_prep.errors import UserError
from mser_jax import ablation, megc2019, protocols, select, zoo

PRESETS = ("paper", "fast", "smoke")

# What a field may hold where it names a choice.
CHOICES = {
    "input.kind": ("flow", "frames", "images"),
    "input.scale": ("none", "clip", "unit"),
    "augment.mode": ("expand", "sample", "none"),
    "model.block": ("bottleneck", "basic"),
    "model.dtype": ("float32", "bfloat16"),
    "model.lowering": ("auto", "xla", "einsum", "frames"),
    "model.rc.restore": ("last", "pointwise"),
    "model.rc.chain": ("factorised", "depthwise"),
    "model.rc.weights": ("softmax", "free"),
    "evaluation.protocol": protocols.PROTOCOLS,
    "evaluation.select": select.RULES,
    "train.optimizer": ("adam", "sgd"),
    "train.schedule": ("constant", "cosine", "step", "halves", "tenths"),
    "train.class_weights": ("none", "balanced"),
    "train.loss": ("cross_entropy", "margin"),
    "parallel.lift": ("auto", "vmap", "map"),
    "parallel.data": ("auto", "resident", "streamed"),
}
MEMBERS = {
    "input.channels": ("u", "v", "strain", "magnitude"),
    "augment.variants": ("original", "left", "right", "up", "down", "mirror", "flip"),
}
LEAST = {
    "seed": 0,
    "model.width": 1,
    "model.rc.reduction": 1,
    "model.fusion.reduction": 1,
    "model.head.hidden": 1,
    "train.seeds": 1,
    "train.epochs": 1,
    "train.batch_size": 2,  # with one clip CAM's batch normalisation has no variance
    "train.warmup": 0,
    "train.weight_decay": 0.0,
    "train.checkpoint_every": 1,
    "train.checkpoints_kept": 1,
    "model.head.dropout": 0.0,
    "evaluation.folds": 2,
    "parallel.folds_per_device": 0,
}
POSITIVE = ("train.learning_rate", "model.c")


def get_config(dataset: str = "synthetic", preset: str = "smoke") -> ConfigDict:
    """The configuration of one data set under one preset.

    Args:
      dataset: one of `data_prep.datasets.SOURCES`; by default the one that needs no data.
      preset: 'paper' (what the paper states, full size), 'fast' or 'smoke' (small, with learning
        rates of their own: at 1e-5 a short run learns nothing). Of 'megc2019' a model of
        `mser_jax.zoo`, or 'all'.

    Returns:
      A locked ConfigDict: a name that is not in it is an error.

    Raises:
      UserError: there is no such preset.
    """
    if dataset == "megc2019":
        return megc2019.configuration(_paper(dataset), preset).lock()
    config = _paper(dataset)
    if preset not in PRESETS:
        raise UserError(check.unknown("preset", preset, PRESETS))
    config.preset = preset
    if preset == "fast":
        _fast(config)
    elif preset == "smoke":
        _smoke(config)
    return config.lock()


def series(config: ConfigDict) -> ConfigDict:
    """The configuration of the ablation, from that of the whole network."""
    made = ConfigDict(config.to_dict())
    made.name = f"ablation-{config.name}"
    made.ablation = ConfigDict()
    made.ablation.members = tuple(ablation.MEMBERS)  # which are run and compared (4.3.3, figure 11)
    return made.lock()


def member(config: ConfigDict, name: str) -> ConfigDict:
    """The configuration of one of the ablation's members, which is an ordinary run.

    Args:
      config: of the whole network, or of the ablation.
      name: one of `ablation.MEMBERS`.

    Raises:
      UserError: there is no such member.
    """
    if name not in ablation.MEMBERS:
        raise UserError(check.unknown("member of the ablation", name, ablation.MEMBERS))
    made = ConfigDict({key: value for key, value in config.to_dict().items() if key != "ablation"})
    made.name = f"{config.data.dataset}-{ablation.twin(name)}"
    made.update_from_flattened_dict(ablation.settings(name))
    return made.lock()


def model_of_suite(config: ConfigDict, name: str) -> ConfigDict:
    """The configuration of one of the models of `configs/megc2019.py:all`, an ordinary run.

    Args:
      config: of all models, with the user's changes; they hold for each.
      name: one of `zoo.MODELS`.
    """
    return megc2019.member(config, get_config("megc2019", name))


def as_it_was(config: ConfigDict) -> ConfigDict:
    """The configuration before the user's changes, whose every field does what an old run did."""
    preset = config.preset if config.data.dataset == "megc2019" else "paper"
    return get_config(config.data.dataset, preset)


def _paper(dataset: str) -> ConfigDict:
    config = ConfigDict()
    config.name = dataset  # of the run, in its report and its default folder
    config.preset = "paper"
    config.seed = 0  # initial weights, order of clips, augmentation; parts of 'k_fold'

    config.data = data_config.data(dataset)
    config.synthetic = data_config.synthetic()  # read when data.dataset is 'synthetic'
    config.prep = data_config.recipe()

    config.input = ConfigDict()
    config.input.kind = "flow"  # 'frames' feeds the key frames themselves: figure 11 without flow
    config.input.channels = ("u", "v", "strain")  # of the flow; 'magnitude' too (3.3.1: open)
    config.input.scale = "clip"  # by the 95th percentile of the clip's magnitude; or 'none'

    config.augment = ConfigDict()
    config.augment.mode = "expand"  # every variant an epoch; 'sample': one drawn a clip (3.2, 2)
    config.augment.variants = ("original", "left", "right", "up", "down", "mirror")  # (3.2, 2)

    config.model = ConfigDict()
    config.model.block = "bottleneck"  # the name's ResNet50; 'basic': the text's layers (3.3.1)
    config.model.dtype = "float32"  # of the maps; parameters and statistics are always float32
    config.model.lowering = "auto"  # of convolutions: how they are computed (docs/design.md)
    config.model.remat = False  # keep a stage's inputs alone for backward; not on CPUs
    config.model.width = 64  # channels after block 1 (3.3.1)
    config.model.depths = (3, 4, 6, 3)  # residual units in blocks 2 to 5 (3.3.1)
    config.model.attention = True  # temporal and spatial attention after block 1 (3.3.1)
    config.model.rc = ConfigDict()
    config.model.rc.on = True  # RC1 to RC3 after blocks 2 to 4 (3.3.2)
    config.model.rc.reduction = 4  # channels of a branch's leading 1x1x1 (3.3.2: open)
    config.model.rc.restore = "last"  # which convolution brings the channels back (3.3.2: open)
    config.model.rc.chain = "factorised"  # or 'depthwise' (3.3.2: open)
    config.model.rc.weights = "softmax"  # of alpha, beta, ... in eq. 3.8 and 3.9; or 'free'
    config.model.fusion = ConfigDict()
    config.model.fusion.on = True  # four heads after AFFA; else one on block 5 (3.3.3)
    config.model.fusion.cascade = False  # O3 from the fused O2 rather than X4 (3.3.3: open)
    config.model.fusion.reduction = 4  # r of CAM (eq. 3.10)
    config.model.head = ConfigDict()
    config.model.head.hidden = 256  # between the two fully connected layers (3.4: open)
    config.model.head.dropout = 0.0  # share of the hidden units left out in training (3.4: none)

    config.train = ConfigDict()
    config.train.seeds = 1  # each fold is trained with seed, seed + 1, ... (4.2: not in the paper)
    config.train.epochs = 100  # (4.2)
    config.train.batch_size = 8  # clips a fold and step (4.2: open)
    config.train.optimizer = "adam"  # (4.2); or 'sgd', with a momentum of 0.9
    config.train.learning_rate = 1e-5  # (4.2)
    config.train.schedule = "constant"  # of the rate; mser_jax.schedules has others (4.2: none)
    config.train.warmup = 0  # epochs up to the learning rate (4.2: none)
    config.train.weight_decay = 0.0  # of kernels, decoupled: AdamW (4.2: none)
    config.train.class_weights = "none"  # in the loss; 'balanced': all classes alike (3.4: none)
    config.train.loss = "cross_entropy"  # (3.4); 'margin' is for the lengths of capsules
    config.train.checkpoint_every = 10  # epochs
    config.train.checkpoints_kept = 2  # the newest

    config.evaluation = ConfigDict()
    # 'loso', 'leave_one_sample_out' (eq. 4.5 as written), 'k_fold', 'hold_out', 'cross_database'.
    config.evaluation.protocol = "loso"
    config.evaluation.folds = 5  # of 'k_fold': parts of whole subjects (4.2: not in the paper)
    config.evaluation.held_out = ""  # of 'hold_out': the database that is tested, as 'samm'
    config.evaluation.select = "confidence"  # which head answers (3.4)

    config.parallel = ConfigDict()
    config.parallel.lift = "auto"  # folds of a device: 'vmap' side by side, 'map' in turn
    config.parallel.folds_per_device = 0  # at once, the others in rounds; 0: as memory allows
    config.parallel.data = "auto"  # clips: 'resident' on every device, or 'streamed' from disk

    config.report = ConfigDict()
    # Also what choosing the best epoch on the test subject would have claimed; never a result.
    config.report.inflated = False
    # Key frames of the hardest clips beside the page, in the run's folder; False: their flow alone.
    config.report.faces = True
    return config


def _fast(config: ConfigDict) -> None:
    config.prep.size = 80
    config.prep.steps = 8
    config.augment.mode = "sample"
    config.model.width = 16
    config.model.depths = (1, 1, 1, 1)
    config.model.head.hidden = 64
    config.train.epochs = 60
    config.train.learning_rate = 1e-3


def _smoke(config: ConfigDict) -> None:
    _fast(config)
    config.prep.size = 56
    # In two minutes a network does not learn to be blind to shifts.
    config.augment.variants = ("original", "mirror")
    config.model.block = "basic"
    config.model.width = 8
    config.model.head.hidden = 32
    config.train.epochs = 30
    config.train.learning_rate = 2e-3


def validate(config: ConfigDict) -> None:
    """Refuse values that no part of the program can use.

    A model of the field has fewer fields than the paper's network.

    Raises:
      UserError: names the field, what it holds, and what it may hold.
    """
    data_config.validate(config)
    check.choices(config, _present(config, CHOICES))
    check.members(config, _present(config, MEMBERS))
    check.least(config, _present(config, LEAST))
    check.positive(config, [field for field in POSITIVE if _has(config, field)])
    if config.seed + config.train.seeds > 2**32:
        raise UserError(
            f"config.seed is {config.seed}, config.train.seeds {config.train.seeds}; every seed "
            "must be less than 2**32."
        )
    for field, check_field in _FURTHER.items():
        if _has(config, field):
            check_field(config)
    _validate_held_out(config.evaluation.protocol, config.evaluation.held_out)


def _has(config: ConfigDict, field: str) -> bool:
    section, *rest = field.split(".", 1)
    return section in config and (not rest or _has(config[section], rest[0]))


def _present(config: ConfigDict, table: Mapping[str, Any]) -> dict[str, Any]:
    return {field: known for field, known in table.items() if _has(config, field)}


def _validate_variants(config: ConfigDict) -> None:
    if "original" not in config.augment.variants:
        raise UserError(
            f"config.augment.variants is {config.augment.variants}; 'original' must be among them: "
            "it is how a test clip is seen."
        )


def _validate_depths(config: ConfigDict) -> None:
    depths = tuple(config.model.depths)
    if len(depths) != 4 or not all(isinstance(depth, int) and depth > 0 for depth in depths):
        raise UserError(
            f"config.model.depths is {config.model.depths}; it must hold four counts of at least 1 "
            "(residual units in blocks 2 to 5)."
        )


def _validate_dropout(config: ConfigDict) -> None:
    if config.model.head.dropout >= 1:
        raise UserError(
            f"config.model.head.dropout is {config.model.head.dropout}; it must be less than 1, as "
            "it is the share that is left out."
        )


def _validate_input(config: ConfigDict) -> None:
    kind, scale = config.input.kind, config.input.scale
    if (kind == "images") != (config.data.dataset == "megc2019"):
        raise UserError(
            f"config.input.kind is {kind!r}, but the data set {config.data.dataset} has "
            f"{'images' if kind != 'images' else 'flow and frames'}. Remedy: leave it as it was."
        )
    if (kind == "images" and scale == "clip") or (kind != "images" and scale == "unit"):
        raise UserError(
            f"config.input.scale is {scale!r}, which is not for {kind}: 'clip' needs the flow in "
            "px, 'unit' divides images by 255. 'none' is for all."
        )
    if kind == "images" and "magnitude" in config.input.channels:
        raise UserError(
            "config.input.channels holds 'magnitude', which the images have lost. Remedy: u, v and "
            "strain."
        )


def _validate_warmup(config: ConfigDict) -> None:
    if config.train.warmup >= config.train.epochs:
        raise UserError(
            f"config.train.warmup is {config.train.warmup}, config.train.epochs "
            f"{config.train.epochs}; the warm-up must end before the last epoch."
        )


def _validate_model(config: ConfigDict) -> None:
    if config.model.name != config.preset:
        raise UserError(
            f"config.model.name is {config.model.name!r}, but the fields are those of "
            f"{config.preset}. Remedy: --config=configs/megc2019.py:{config.model.name}."
        )
    if zoo.model(config.preset).classical and config.train.seeds > 1:
        raise UserError(
            f"config.train.seeds is {config.train.seeds}, but {config.preset} draws nothing at "
            "random, and every seed would answer alike. Remedy: leave it at 1."
        )


def _validate_loss(config: ConfigDict) -> None:
    capsules = config.model.get("name") == "capsulenet"
    if (config.train.loss == "margin") != capsules:
        raise UserError(
            f"config.train.loss is {config.train.loss!r}: the margin loss is for CapsuleNet, whose "
            "outputs are lengths, and no other is. Remedy: leave it as it was."
        )


def _validate_held_out(protocol: str, held_out: str) -> None:
    if protocol == "hold_out" and not held_out:
        raise UserError(
            "config.evaluation.held_out is ''; protocol hold_out needs the database that it tests: "
            "--config.evaluation.held_out=samm."
        )
    if protocol != "hold_out" and held_out:
        raise UserError(
            f"config.evaluation.held_out is {held_out!r} and would not be used: it needs "
            "--config.evaluation.protocol=hold_out."
        )


def _validate_models(config: ConfigDict) -> None:
    if config.suite.models:
        check.members(config, {"suite.models": tuple(zoo.MODELS)})


def _validate_series(config: ConfigDict) -> None:
    check.members(config, {"ablation.members": tuple(ablation.MEMBERS)})
    pairs = (*ablation.ADDED, *ablation.LEFT_OUT)
    if not ablation.compared(config.ablation.members, pairs):
        raise UserError(
            f"config.ablation.members is {tuple(config.ablation.members)}; no two of them are "
            "compared. The pairs: "
            + ", ".join(f"{pair.without} and {pair.with_}" for pair in pairs)
            + "."
        )
    for part in ablation.PARTS.values():
        if check.get(config, part.field) != part.on:
            raise UserError(
                f"config.{part.field} is {check.get(config, part.field)}, but each member of the "
                "ablation sets it. Remedy: leave it out, or choose with config.ablation.members."
            )


# What the tables above cannot say, by the field or section that it is about.
_FURTHER: Mapping[str, Callable[[ConfigDict], None]] = MappingProxyType(
    {
        "augment.variants": _validate_variants,
        "model.name": _validate_model,
        "model.depths": _validate_depths,
        "model.head.dropout": _validate_dropout,
        "train.warmup": _validate_warmup,
        "train.loss": _validate_loss,
        "input.kind": _validate_input,
        "suite": _validate_models,
        "ablation": _validate_series,
    }
)
