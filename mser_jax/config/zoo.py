"""The models of the field that `configs/megc2019.py` trains: who made them, and how they trained.

Each has its paper's own settings, as fields of the configuration; what is not named here is as in
`SHARED`. Where a paper is silent, the module of the network says what was taken.
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
      title: as its paper calls it.
      paper: who published it.
      fields: of the configuration, by their names with dots; the others are as in `SHARED`, and
        then as the paper of this project has them.
      settings_source: whose they are: the authors' where they state them, else 'ours'.
      classical: fitted by scikit-learn (`mser_jax.experiments.classical`) rather than trained.
      large: run by `all` on a GPU only, or when it is named.
    """

    title: str
    paper: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    settings_source: str = "the authors'"
    classical: bool = False
    large: bool = False


# What all have in common unless their own fields say otherwise.
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
        # The authors' code is not public, and the paper's settings were not at hand: ours are those
        # of Dual-Inception, in batches that a CPU can use.
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
        # As in the authors' code, github.com/xly135846/MEGC2019, but for the epoch, which they
        # choose on other subjects of the tested one's database; here it is their last.
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
        # As in the authors' code, github.com/quangdtsc/megc2019, but for the epoch, which they
        # choose on the test subject, and for what needs frames of 224 px, or networks trained
        # before: see the network.
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
        # As in the authors' code, github.com/wangzhifengharrison/HTNet, but for the epoch, which
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
        # The paper's rate, batch and epochs (4.2), without its augmentation.
        "msres2d": Model(
            "MSRes3D of one step", "after Jin et al. 2024", {}, settings_source="ours"
        ),
    }
)


def model(name: str) -> Model:
    """The model of a name.

    Raises:
      UserError: there is none.
    """
    if name not in MODELS:
        raise UserError(check.unknown_message("model", name, MODELS))
    return MODELS[name]
