"""The models of the field that `configs/megc2019.py` trains: who made them, and how they trained.

Each has its paper's own settings, as fields of the configuration; what is not named here is as in
`SHARED`. Where a paper is silent, the module of the network says what was taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from data_prep import check
from data_prep.errors import UserError


@dataclasses.dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
      title: as its paper calls it.
      paper: who published it.
      fields: of the configuration, by their names with dots; the others are as in `SHARED`.
      classical: fitted by scikit-learn (`mser_jax.classical`) rather than trained.
      large: run by `all` on a GPU only, or when it is named.
    """

    title: str
    paper: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    classical: bool = False
    large: bool = False


# What the networks have in common unless their own fields say otherwise.
SHARED: Mapping[str, object] = MappingProxyType(
    {
        "input.channels": ("u", "v", "strain"),
        "input.scale": "unit",
        "train.batch_size": 256,
        "train.learning_rate": 1e-4,
        "train.epochs": 100,
    }
)
TWO_STREAMS = ("u", "v")

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "majority": Model("always the most frequent class", "", classical=True),
        "svm_linear": Model("linear SVM on the pixels", "", {"model.c": 0.01}, classical=True),
        "svm_rbf": Model("RBF SVM on the pixels", "", {"model.c": 10.0}, classical=True),
        "mirror_svm": Model("SVM with a mirror kernel", "this project", classical=True),
        "ststnet": Model(
            "STSTNet",
            "Liong et al. 2019",
            {
                "input.channels": ("strain", "v", "u"),  # as OpenCV reads the authors' images
                "input.scale": "none",
                "train.learning_rate": 5e-5,
                "train.epochs": 800,
            },
        ),
    }
)


def model(name: str) -> Model:
    """The model of a name.

    Raises:
      UserError: there is none.
    """
    if name not in MODELS:
        raise UserError(check.unknown("model", name, MODELS))
    return MODELS[name]
