"""Every field of a run, with its meaning and the paper's section (docs/paper.md), and the presets.

`data_prep.config` owns the fields of the preprocessing; they are `config.prep` here.
"""

from ml_collections import ConfigDict

from data_prep import config as data_config
from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.config import megc2019
from mser_jax.evaluate.compare import ablation

PRESETS = ("paper", "fast", "smoke")


def get_config(dataset: str = "synthetic", preset: str = "smoke") -> ConfigDict:
    """The configuration of one data set under one preset.

    Args:
      dataset: one of `data_prep.datasets.registry.SOURCES`; by default the one that needs no data.
      preset: 'paper' (what the paper states, full size), 'fast' or 'smoke' (small, with learning
        rates of their own: at 1e-5 a short run learns nothing). Of 'megc2019' a model of
        `mser_jax.config.zoo`, or 'all'.

    Returns:
      A locked ConfigDict: a name that is not in it is an error.

    Raises:
      UserError: there is no such preset.
    """
    if dataset == "megc2019":
        return megc2019.configuration(_paper(dataset), preset).lock()
    config = _paper(dataset)
    if preset not in PRESETS:
        raise UserError(check.unknown_message("preset", preset, PRESETS))
    config.preset = preset
    if preset == "fast":
        _fast(config)
    elif preset == "smoke":
        _smoke(config)
    return config.lock()


def ablation_config(config: ConfigDict) -> ConfigDict:
    """The configuration of the ablation, from that of the whole network."""
    made = ConfigDict(config.to_dict())
    made.name = f"ablation-{config.name}"
    made.ablation = ConfigDict()
    made.ablation.members = tuple(ablation.MEMBERS)  # which are run and compared (4.3.3, figure 11)
    return made.lock()


def ablation_member_config(config: ConfigDict, name: str) -> ConfigDict:
    """The configuration of one of the ablation's members, which is an ordinary run.

    Args:
      config: of the whole network, or of the ablation.
      name: one of `ablation.MEMBERS`.

    Raises:
      UserError: there is no such member.
    """
    if name not in ablation.MEMBERS:
        raise UserError(check.unknown_message("member of the ablation", name, ablation.MEMBERS))
    made = ConfigDict({key: value for key, value in config.to_dict().items() if key != "ablation"})
    made.name = f"{config.data.dataset}-{ablation.canonical_member(name)}"
    made.update_from_flattened_dict(ablation.settings(name))
    return made.lock()


def suite_model_config(config: ConfigDict, name: str) -> ConfigDict:
    """The configuration of one of the models of `configs/megc2019.py:all`, an ordinary run.

    Args:
      config: of all models, with the user's changes; they hold for each.
      name: one of `zoo.MODELS`.
    """
    return megc2019.apply_suite_fields(config, get_config("megc2019", name))


def legacy_defaults(config: ConfigDict) -> ConfigDict:
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
    config.train.schedule = "constant"  # of the rate; train/optimizer.py has others (4.2: none)
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
