"""A trained model in memory: from frames to classes. `mser_jax.load` creates one."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_prep.clip import Clip
from data_prep.common import command
from data_prep.common.errors import UserError
from data_prep.config import context_seconds
from data_prep.pipeline import record
from data_prep.pipeline.record import Record
from data_prep.spotting.found import SpottedMovement
from data_prep.stages import identity
from data_prep.stages.identity import Recipe
from mser_jax.config import networks
from mser_jax.models.network import Network
from mser_jax.predict import inputs, model_folder, serving
from mser_jax.predict.answers import Answer, ClassifiedMovement, VideoAnswer
from mser_jax.predict.serving import HeadSelector, Output
from mser_jax.predict.session import Session, classify_marked_clip
from mser_jax.storage import weights

Tree = Any


class Model:
    """A trained network and everything needed to classify the movements of a video.

    Attributes:
      description: Content of model.json (`mser_jax.predict.model_folder`).
      class_names: Names of its classes.
      calibrated: Whether its confidences are calibrated.
      network, params, stats: The network as pure functions, its parameters and batch statistics.
      digest: Digest that identifies the folder it was read from.
    """

    digest = ""

    def __init__(
        self, description: Mapping[str, Any], network: Network, params: Tree, stats: Tree
    ) -> None:
        self.description = description
        self.class_names: tuple[str, ...] = tuple(description["class_names"])
        self.calibrated = description["calibration"] is not None
        self.network, self.params, self.stats = network, params, stats
        self.config = ConfigDict(description["config"])
        self.recipe: Recipe = identity.without_predictor(description["config"]["prep"])

    @classmethod
    def from_description(cls, description: Mapping[str, Any], file: Path) -> Model:
        """Create the model from its description and a file of weights.

        Raises:
          UserError: The weights belong to another network.
        """
        try:
            network = networks.network(
                ConfigDict(description["config"]), len(description["class_names"])
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file.parent}: this version of mser_jax cannot build the model's network "
                f"({error}). Fix: load it with mser_jax {description['version']}, or export it "
                "again with this version."
            ) from error
        return cls(description, network, *weights.load(file, network))

    @classmethod
    def read(cls, path: Path | str) -> Model:
        """Read the model from its folder. Nothing in the folder is executed.

        Raises:
          UserError: There is no model, or `model_folder.read` refuses it.
        """
        folder = command.expand_path(path)
        model = cls.from_description(model_folder.read(folder), folder / model_folder.WEIGHTS)
        model.digest = model_folder.digest(folder)
        return model

    def predict(
        self,
        frames: Iterable[np.ndarray],
        fps: float,
        *,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
        landmarks: np.ndarray | None = None,
    ) -> VideoAnswer:
        """Find and classify the movements of a video, or classify one marked movement.

        Without marks, the frames are read once, and only as many are held as a movement needs,
        so `frames` may be a generator.

        Args:
          frames: Frames `[h, w]` grey or `[h, w, 3]` RGB, 0..255, all of one size. OpenCV reads
            BGR; `frame[..., ::-1]` is RGB.
          fps: Frames per second.
          onset: Index of the first frame of the marked movement. The default is 0 if `apex` or
            `offset` is given.
          apex: Index of its peak frame. By default it is estimated.
          offset: Index of its last frame. The default is the last frame if another mark is given.
          landmarks: Points (x, y) of the face in px, float `[68, 2]`, in the first frame, or in the
            onset frame of a marked movement. By default dlib finds them.

        Returns:
          The movements with their classes.

        Raises:
          UserError: The frames are invalid, a marked clip shows no face, dlib is not installed, or
            the marks are out of order.
        """
        frames = inputs.checked_frames(frames, fps)
        if (onset, apex, offset) != (None, None, None):
            clip = inputs.marked_clip(
                np.stack([*frames]),
                fps,
                onset,
                apex,
                offset,
                landmarks,
                context_seconds(self.recipe),
            )
            return classify_marked_clip(self, clip)
        session = Session(self, fps, landmarks=landmarks)
        for frame in frames:
            session.update(frame)
        session.end()
        return session.answer()

    def classify(self, movement: Clip | SpottedMovement, first: int = 0) -> ClassifiedMovement:
        """Classify a movement.

        Args:
          movement: Clip as read, or spotted movement, which has passed the face stage already.
          first: Number of the video's first frame, from which times count.

        Raises:
          UserError: The clip cannot be used, or the model is for images of flow.
        """
        self.check_accepts_videos()
        stages, strength = tuple(self.recipe["stages"]), None
        if isinstance(movement, SpottedMovement):
            clip, stages, strength = movement.clip, stages[1:], movement.movement
        else:
            clip = movement
        clip_record, key_frames = record.apply_stages(clip, self.recipe, stages)
        clip_record = record.with_flow(clip_record, key_frames, self.recipe)
        if not np.isfinite(clip_record["flow"]).all():
            raise UserError(f"{clip.name}: the optical flow is not finite. Fix: check the frames.")
        output = self.predict_pixels(self.pixels(clip_record)[None])
        answer = self._answer(clip, clip_record, output, first, strength)
        return ClassifiedMovement(answer, clip_record)

    def check_accepts_videos(self) -> None:
        """Raise UserError if the network was trained on images of flow, not on videos."""
        if self.config.input.kind == "images":
            raise UserError(
                f"The model {self.description['name']} was trained on precomputed flow images and "
                "cannot read videos. Fix: call its program.stablehlo on such images, or use a "
                "model that was trained on videos."
            )

    def pixels(self, clip_record: Record) -> np.ndarray:
        """Return the part of a record that the network sees, float32 `[t, S, S, d]`."""
        kind = self.config.input.kind
        return np.asarray(
            clip_record["flow"] if kind == "flow" else clip_record["frames"][1:], np.float32
        )

    def predict_pixels(self, pixels: np.ndarray) -> Output:
        """Return the network's output for clips `[b, t, S, S, d]`."""
        return jax.tree.map(np.asarray, self._jitted_predict_fn(self.params, self.stats, pixels))

    def export_stablehlo(self) -> bytes:
        """Export the model as StableHLO (`serving.export_stablehlo`)."""
        predict_fn = functools.partial(self._predict_fn, self.params, self.stats)
        return serving.export_stablehlo(predict_fn, tuple(self.description["pixels"]))

    @functools.cached_property
    def _predict_fn(self) -> Any:
        selector = HeadSelector(**self.description["rule"])
        view = networks.view(self.config)
        return serving.make_predict_fn(self.network, view, selector, self.config.input.scale)

    @functools.cached_property
    def _jitted_predict_fn(self) -> Any:
        return jax.jit(self._predict_fn)

    def _answer(
        self, clip: Clip, clip_record: Record, output: Output, first: int, movement: float | None
    ) -> Answer:
        onset, apex, offset = (
            clip.first + index for index in (clip.onset, clip_record["apex"], clip.offset)
        )
        if clip_record["apex"] < 0:  # Neither the user nor the recipe gives an apex.
            apex = (onset + offset) // 2
        head, best = int(output.head[0]), int(output.probabilities[0].argmax())
        return Answer(
            onset=onset,
            apex=apex,
            offset=offset,
            times=(
                (onset - first) / clip.fps,
                (apex - first) / clip.fps,
                (offset - first) / clip.fps,
            ),
            label=self.class_names[best],
            confidence=float(output.probabilities[0, best]),
            probabilities=self._by_class(output.probabilities[0]),
            heads=tuple(self._by_class(probabilities) for probabilities in output.heads[0]),
            head=None if head < 0 else head + 1,
            movement=movement,
            apex_estimated=clip_record["apex"] < 0 or bool(clip_record["apex_estimated"]),
            notes=tuple(clip_record["notes"].splitlines()),
        )

    def _by_class(self, values: Any) -> dict[str, float]:
        return dict(zip(self.class_names, map(float, values)))


def load(path: Path | str) -> Model:
    """Load a trained model from a folder written by `python -m mser_jax.export`.

    `model.predict(frames, fps)` then finds movements and classifies them, as a
    `mser_jax.predict.answers.VideoAnswer`. Nothing in the folder is executed.

    Args:
      path: Folder of the model.

    Returns:
      The model.

    Raises:
      UserError: There is no model, it was changed, or this version of mser_jax cannot use it.
    """
    return Model.read(path)
