"""Micro-expression recognition with a multi-scale 3D residual network (Jin et al., 2024) in JAX.

Classify a clip with a trained model (`python -m mser_jax.export` makes its folder):

>>> import mser_jax
>>> model = mser_jax.load("model/")
>>> answer = model.predict(frames, fps=100, onset=20, apex=30, offset=40)
>>> answer.answers[0].label in model.class_names
True

Train your own network under leave-one-subject-out (LOSO), all folds in one program:

>>> import jax
>>> from mser_jax import Clips, Evaluator, Resident, Settings, Trainer, View, fold_mesh, loso
>>> trainer = Trainer.create(
...     loso(groups),  # 'dataset/subject' of each clip
...     network=network,  # mser_jax.models.functional(lambda rngs: YourModule(rngs=rngs))
...     view=View(size=20, variants=("original",), channels=("u", "v", "strain")),
...     settings=Settings(
...         epochs=2, batch_size=4, learning_rate=1e-3, augment="none", checkpoint_every=1
...     ),
...     heads=1,
...     classes=3,
...     mesh=fold_mesh(),
...     lift="map",
... )
>>> feed = Resident(Clips(flow, scale, labels), trainer.mesh)
>>> train_steps, state = trainer.train_steps(), trainer.init_state()
>>> for epoch in range(trainer.settings.epochs):
...     (window,) = feed.windows(trainer.schedule(epoch), 0, trainer.steps)
...     steps = trainer.step_range(epoch, 0, trainer.steps)
...     state, metrics = train_steps(
...         state, trainer.zero_metrics(), window.schedule, None, steps, window.clips
...     )
>>> logits = Evaluator(trainer, feed).held_out_logits(state)  # one array per fold
>>> len(logits) == len(trainer.folds)
True

Networks are in `mser_jax.models`, metrics and comparisons in `mser_jax.evaluate`, and the
preprocessing of videos in `data_prep`. Everything else is internal and may move.
"""

from typing import TYPE_CHECKING

from data_prep.common import lazy

if TYPE_CHECKING:
    from mser_jax.data.augment import Clips, View
    from mser_jax.data.feed import Resident
    from mser_jax.data.folds import Fold, loso
    from mser_jax.parallel import fold_mesh, over_folds
    from mser_jax.predict.model import Model, load
    from mser_jax.train.evaluator import Evaluator
    from mser_jax.train.trainer import Settings, Trainer

__version__ = "0.1.0"
__all__ = [
    "Clips",
    "Evaluator",
    "Fold",
    "Model",
    "Resident",
    "Settings",
    "Trainer",
    "View",
    "fold_mesh",
    "load",
    "loso",
    "over_folds",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Clips": "mser_jax.data.augment",
        "Evaluator": "mser_jax.train.evaluator",
        "Fold": "mser_jax.data.folds",
        "Model": "mser_jax.predict.model",
        "Resident": "mser_jax.data.feed",
        "Settings": "mser_jax.train.trainer",
        "Trainer": "mser_jax.train.trainer",
        "View": "mser_jax.data.augment",
        "fold_mesh": "mser_jax.parallel",
        "load": "mser_jax.predict.model",
        "loso": "mser_jax.data.folds",
        "over_folds": "mser_jax.parallel",
    },
)
