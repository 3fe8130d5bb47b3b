"""The models that `configs/megc2019.py` trains, with their papers and their training settings.

Each model has the settings of its own paper, as fields of the configuration; all other fields are
as in `COMMON_FIELDS`. Where a paper does not state a setting, the network's module says which was
used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from data_prep.common import check
from data_prep.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
      title: Name in its paper.
      paper: Authors and year of its paper.
      fields: Dotted field -> value. Fields not listed are as in `COMMON_FIELDS`, or else as in the
        configuration of the paper of this project.
      settings_source: Source of the settings: "the authors'" if they state them, or 'ours'.
      classical: True if scikit-learn fits it (`mser_jax.experiments.classical`), instead of a
        training.
      large: True if 'all' runs it only on a GPU; a user can always name it.
    """

    title: str
    paper: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    settings_source: str = "the authors'"
    classical: bool = False
    large: bool = False


# Fields of all models, unless their own fields override them.
COMMON_FIELDS: Mapping[str, object] = MappingProxyType(
    {"input.channels": ("u", "v", "strain"), "input.scale": "unit"}
)

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "majority": Model("the most frequent class", "", settings_source="ours", classical=True),
        "svm_linear": Model(
            "linear SVM on the pixels",
            "",
            {"model.c": 0.01},
            settings_source="ours",
            classical=True,
        ),
        "svm_rbf": Model(
            "RBF SVM on the pixels", "", {"model.c": 10.0}, settings_source="ours", classical=True
        ),
        "mirror_svm": Model("SVM with a mirror kernel", "", settings_source="ours", classical=True),
        # As in the authors' code: github.com/christy1206/STSTNet.
        "ststnet": Model(
            "STSTNet",
            "Liong et al. 2019",
            {
                "input.channels": ("strain", "v", "u"),  # as OpenCV reads the authors' images
                "input.scale": "none",
                "train.batch_size": 256,
                "train.learning_rate": 5e-5,
                "train.epochs": 800,
            },
        ),
        # The authors' code is not public, and the paper's settings were not available: ours are
        # those of Dual-Inception, with a batch size that suits a CPU.
        "off_apexnet": Model(
            "OFF-ApexNet",
            "Gan et al. 2019",
            {
                "input.channels": ("u", "v"),
                "train.batch_size": 64,
                "train.learning_rate": 1e-4,
                "train.epochs": 40,
            },
            settings_source="ours",
        ),
        # As in the authors' code, github.com/xly135846/MEGC2019, except for the epoch: they choose
        # it on other subjects of the test subject's database, and here it is their last.
        "dual_inception": Model(
            "Dual-Inception",
            "Zhou et al. 2019",
            {
                "input.channels": ("u", "v"),
                "train.batch_size": 3,
                "train.learning_rate": 1e-4,
                "train.epochs": 40,
            },
        ),
        # As in the example of the authors' code,
        # github.com/xiazhaoqiang/ParameterFreeRCNs-MicroExpressionRec.
        "rcn": Model(
            "RCN",
            "Xia et al. 2020",
            {
                "train.batch_size": 64,
                "train.optimizer": "sgd",
                "train.learning_rate": 5e-4,
                "train.schedule": "halves",
                "train.epochs": 20,
            },
        ),
        # As in the authors' code, github.com/quangdtsc/megc2019, except for the epoch, which they
        # choose on the test subject, and for all that needs frames of 224 px or pretrained
        # networks: see the network's module.
        "capsulenet": Model(
            "CapsuleNet",
            "Van Quang et al. 2019",
            {
                "train.batch_size": 32,
                "train.learning_rate": 1e-4,
                "train.schedule": "tenths",
                "train.epochs": 30,
                "train.loss": "margin",
            },
        ),
        # As in the authors' code, github.com/wangzhifengharrison/HTNet, except for the epoch, which
        # they choose on the test subject.
        "htnet": Model(
            "HTNet",
            "Wang et al. 2024",
            {
                "input.channels": ("strain", "v", "u"),
                "input.scale": "none",
                "train.batch_size": 256,
                "train.learning_rate": 5e-5,
                "train.epochs": 800,
            },
            large=True,
        ),
        # With the paper's learning rate, batch size and epochs (4.2), without its augmentation.
        "msres2d": Model(
            "MSRes3D of one step", "after Jin et al. 2024", {}, settings_source="ours"
        ),
    }
)


def model(name: str) -> Model:
    """Return the model of a name.

    Args:
      name: One of `MODELS`.

    Raises:
      UserError: The model does not exist.
    """
    if name not in MODELS:
        raise UserError(check.unknown_message("model", name, MODELS))
    return MODELS[name]
