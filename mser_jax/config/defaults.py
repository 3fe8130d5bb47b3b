"""Every field of a run, with its meaning and the paper's section (docs/paper.md), and the presets.

The fields of the preprocessing, `config.prep`, come from `data_prep.config`.
"""

from ml_collections import ConfigDict

from data_prep import config as data_config
from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.config import megc2019
from mser_jax.evaluate.compare import ablation

PRESETS = ("paper", "fast", "smoke")


def get_config(dataset: str = "synthetic", preset: str = "smoke") -> ConfigDict:
    """Create the configuration of one data set and one preset.

    Args:
      dataset: One of `data_prep.datasets.registry.SOURCES`; the default needs no data.
      preset: 'paper' (the settings of the paper, full size), 'fast' or 'smoke' (small, with higher
        learning rates, because a short run learns nothing at 1e-5). For 'megc2019' a model of
        `mser_jax.config.zoo`, or 'all'.

    Returns:
      A locked ConfigDict: setting an unknown field is an error.

    Raises:
      UserError: The preset does not exist.
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
    """Create the configuration of the ablation.

    Args:
      config: Configuration of the complete network.
    """
    result = ConfigDict(config.to_dict())
    result.name = f"ablation-{config.name}"
    result.ablation = ConfigDict()
    result.ablation.members = tuple(ablation.MEMBERS)  # to run and compare (4.3.3, figure 11)
    return result.lock()


def ablation_member_config(config: ConfigDict, name: str) -> ConfigDict:
    """Create the configuration of one member of the ablation.

    A member is a network with some of the paper's parts. It is trained as an ordinary run.

    Args:
      config: Configuration of the complete network, or of the whole ablation.
      name: One of `ablation.MEMBERS`.

    Raises:
      UserError: The member does not exist.
    """
    if name not in ablation.MEMBERS:
        raise UserError(check.unknown_message("member of the ablation", name, ablation.MEMBERS))
    result = ConfigDict(
        {key: value for key, value in config.to_dict().items() if key != "ablation"}
    )
    result.name = f"{config.data.dataset}-{ablation.canonical_member(name)}"
    result.update_from_flattened_dict(ablation.settings(name))
    return result.lock()


def suite_model_config(config: ConfigDict, name: str) -> ConfigDict:
    """Create the configuration of one model of the suite, an ordinary run.

    Args:
      config: Configuration of the suite (`configs/megc2019.py:all`), with the user's changes; they
        hold for each model.
      name: One of `zoo.MODELS`.
    """
    return megc2019.apply_suite_fields(config, get_config("megc2019", name))


def legacy_defaults(config: ConfigDict) -> ConfigDict:
    """Return the preset whose values stand for fields that an older run lacks.

    Each value is what the program did before the field existed.

    Args:
      config: Configuration of the run.
    """
    preset = config.preset if config.data.dataset == "megc2019" else "paper"
    return get_config(config.data.dataset, preset)


def _paper(dataset: str) -> ConfigDict:
    config = ConfigDict()
    config.name = dataset  # name of the run in its report and its default folder
    config.preset = "paper"
    config.seed = 0  # seeds initial weights, order of clips, augmentation, parts of 'k_fold'

    config.data = data_config.data(dataset)
    config.synthetic = data_config.synthetic()  # used if data.dataset is 'synthetic'
    config.prep = data_config.recipe()

    config.input = ConfigDict()
    config.input.kind = "flow"  # or 'frames': the key frames themselves, for figure 11 without flow
    config.input.channels = ("u", "v", "strain")  # also: 'magnitude' (3.3.1: open)
    config.input.scale = "clip"  # divide by the clip's 95th percentile of magnitude; or 'none'

    config.augment = ConfigDict()
    config.augment.mode = "expand"  # every variant each epoch; 'sample': a random one (3.2, 2)
    config.augment.variants = ("original", "left", "right", "up", "down", "mirror")  # (3.2, 2)

    config.model = ConfigDict()
    config.model.block = "bottleneck"  # as the name ResNet50 implies; 'basic': as the text (3.3.1)
    config.model.dtype = "float32"  # of feature maps; parameters and statistics are always float32
    config.model.lowering = "auto"  # method that computes convolutions (docs/design.md)
    config.model.remat = False  # store only stage inputs for the backward pass; not on CPUs
    config.model.width = 64  # channels after block 1 (3.3.1)
    config.model.depths = (3, 4, 6, 3)  # residual units in blocks 2 to 5 (3.3.1)
    config.model.attention = True  # temporal and spatial attention after block 1 (3.3.1)
    config.model.rc = ConfigDict()
    config.model.rc.on = True  # RC1 to RC3 after blocks 2 to 4 (3.3.2)
    config.model.rc.reduction = 4  # divides the channels, in a branch's leading 1x1x1 (3.3.2: open)
    config.model.rc.restore = "last"  # convolution that restores the channels (3.3.2: open)
    config.model.rc.chain = "factorised"  # or 'depthwise' (3.3.2: open)
    config.model.rc.weights = "softmax"  # of alpha, beta, ... in eq. 3.8 and 3.9; or 'free'
    config.model.fusion = ConfigDict()
    config.model.fusion.on = True  # four heads after AFFA; False: one head on block 5 (3.3.3)
    config.model.fusion.cascade = False  # compute O3 from the fused O2 instead of X4 (3.3.3: open)
    config.model.fusion.reduction = 4  # r of CAM (eq. 3.10)
    config.model.head = ConfigDict()
    config.model.head.hidden = 256  # between the two fully connected layers (3.4: open)
    config.model.head.dropout = 0.0  # share of hidden units dropped in training (3.4: none)

    config.train = ConfigDict()
    config.train.seeds = 1  # trainings of each fold: seed, seed + 1, ... (4.2: not in the paper)
    config.train.epochs = 100  # (4.2)
    config.train.batch_size = 8  # clips per fold and step (4.2: open)
    config.train.optimizer = "adam"  # (4.2); or 'sgd', with a momentum of 0.9
    config.train.learning_rate = 1e-5  # (4.2)
    config.train.schedule = "constant"  # of the learning rate; others: optimizer.py (4.2: none)
    config.train.warmup = 0  # epochs in which the learning rate rises to its full value (4.2: none)
    config.train.weight_decay = 0.0  # of kernels, decoupled as in AdamW (4.2: none)
    config.train.class_weights = "none"  # or 'balanced': all classes count the same (3.4: none)
    config.train.loss = "cross_entropy"  # (3.4); 'margin' is for the output lengths of CapsuleNet
    config.train.checkpoint_every = 10  # epochs between checkpoints
    config.train.checkpoints_kept = 2  # the newest ones

    config.evaluation = ConfigDict()
    # 'loso', 'leave_one_sample_out' (eq. 4.5 as written), 'k_fold', 'hold_out', 'cross_database'.
    config.evaluation.protocol = "loso"
    config.evaluation.folds = 5  # parts of 'k_fold', each of whole subjects (4.2: not in the paper)
    config.evaluation.held_out = ""  # test database of 'hold_out', such as 'samm'
    config.evaluation.select = "confidence"  # rule that chooses the answering head (3.4)

    config.parallel = ConfigDict()
    config.parallel.lift = "auto"  # folds of a device run side by side ('vmap') or in turn ('map')
    config.parallel.folds_per_device = 0  # trained at once, others in later rounds; 0: by memory
    config.parallel.data = "auto"  # clips are 'resident' on every device, or 'streamed' from disk

    config.report = ConfigDict()
    # Also report the scores if the epoch were chosen on the test subject; never a result.
    config.report.inflated = False
    # Save key frames of the hardest clips beside the page, in the run's folder; False: only flow.
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
    # Two minutes of training are too few to learn invariance to shifts.
    config.augment.variants = ("original", "mirror")
    config.model.block = "basic"
    config.model.width = 8
    config.model.head.hidden = 32
    config.train.epochs = 30
    config.train.learning_rate = 2e-3
