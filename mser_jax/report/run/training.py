"""The sections of a run's page on its training: curves, throughput, failures, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mser_jax.config import zoo
from mser_jax.report import curves, html, plots
from mser_jax.report.html import Markup
from mser_jax.report.wording import NOT_RECORDED, pluralize
from mser_jax.storage import history

_ON_DEVICE = {"resident": "resident on the devices", "streamed": "streamed to the devices"}

_UNSEEN = "On training clips only; no held-out clip was looked at before the end."
_WATCHED = (
    "On training clips only. After every epoch the held-out clips were answered too "
    "(report.inflated); nothing here depends on it."
)


def training(scores: Mapping, events: list[dict], evaluated_each_epoch: bool) -> Markup:
    """Show how the training went.

    Args:
      scores: Scores as returned by `scoring.score`.
      events: Events of log.jsonl.
      evaluated_each_epoch: Whether the held-out clips were also classified after every epoch
        (`evaluate.inflated`).
    """
    epochs = history.epochs(events)
    if not epochs:
        text = f"The epochs were {NOT_RECORDED}."
        if any(stage["name"] == "fit" for stage in history.stages(events)):
            text = "Fitted to each fold's training clips at once, without epochs."
        return html.section("Training", html.tag("p", text))
    pictures = [
        html.image(plots.png(figure), f"{title}, over the epochs")
        for title, figure in curves.single_figures(epochs, len(scores["class_names"]))
    ]
    end = f"After epoch {epochs[-1]['epoch']}: {', '.join(_final_values(epochs[-1]))}."
    return html.section(
        "Training",
        html.tag("div", *pictures, class_="figures"),
        html.tag("p", f"{_WATCHED if evaluated_each_epoch else _UNSEEN} {end}", class_="small"),
        html.definition_list(_throughput(epochs, history.last(events, "train"))),
        *_failures(scores, history.diverged_folds(events)),
    )


def _final_values(epoch: Mapping) -> Iterator[str]:
    for name in ("loss", "accuracy", "gradient_norm"):
        if epoch.get(name) is not None:
            yield f"{name.replace('_', ' ')} {epoch[name]:.3f}"


def _throughput(epochs: list[dict], plan: Mapping) -> Iterator[tuple[str, str]]:
    clips, share = (
        history.mean_rate(epochs, name) for name in ("clips_per_second", "fraction_of_peak")
    )
    flops, peak = plan.get("flops_per_clip"), plan.get("peak_flops")
    yield "clips a second, of all folds", NOT_RECORDED if clips is None else f"{clips:,.1f}"
    yield "share of the devices' peak", NOT_RECORDED if share is None else f"{share:.1%}"
    yield (
        "measured peak of the devices",
        NOT_RECORDED if peak is None else f"{_format_flops(peak)}FLOP/s",
    )
    yield (
        "arithmetic of a training step",
        NOT_RECORDED if flops is None else f"{_format_flops(flops)}FLOP a clip",
    )


def _format_flops(flops: float) -> str:
    return f"{flops / 1e12:.1f} T" if flops >= 1e12 else f"{flops / 1e9:.3g} G"


def _failures(
    scores: Mapping, divergence_events: Mapping[tuple[str, int], dict]
) -> Iterator[Markup]:
    """Show where each failed fold stopped being finite, and on which clips."""
    if not scores["failed"]:
        return
    diverged = [
        (row["fold"], row["seed"], divergence_events.get((row["fold"], row["seed"]), {}))
        for row in scores["failed"]
    ]
    rows = [
        (fold, seed, e.get("epoch", NOT_RECORDED), e.get("step", NOT_RECORDED))
        for fold, seed, e in diverged
    ]
    yield html.table(["failed fold", "seed", "not finite from epoch", "step"], rows)
    for fold, seed, event in diverged:
        if clips := event.get("clips"):
            title = f"The {pluralize(len(clips), 'clip')} of that step of fold {fold}, seed {seed}"
            names = html.tag("p", ", ".join(clips), class_="small")
            yield html.tag("details", html.tag("summary", title), names)


def _learning_rate(train: Mapping) -> str:
    schedule = train.get("schedule", "constant")
    warmup = f", warm-up {pluralize(train['warmup'], 'epoch')}" if train.get("warmup") else ""
    kind = {"adam": "Adam", "sgd": "SGD with momentum"}[train.get("optimizer", "adam")]
    return f"{train['learning_rate']:g} ({kind}), {schedule}{warmup}"


def _options(train: Mapping, model: Mapping) -> Iterator[str]:
    """List the settings that are switched on and are not the paper's."""
    if decay := train.get("weight_decay"):
        yield f"weight decay {decay:g}"
    if train.get("loss", "cross_entropy") != "cross_entropy":
        yield f"{train['loss']} loss"
    if train.get("class_weights", "none") != "none":
        yield f"{train['class_weights']} class weights"
    if dropout := model.get("head", {}).get("dropout"):
        yield f"dropout {dropout:g}"


def run_settings(scores: Mapping, config: Mapping, events: list[dict]) -> Markup:
    """Show the settings that a reader asks for first, and the devices."""
    train, model, prep = config["train"], config["model"], config["prep"]
    plan = history.last(events, "train")
    rows = [
        ("data set", config["data"]["dataset"]),
        ("preset", config["preset"]),
        *(_training_settings(train, model) if "epochs" in train else ()),
        ("augmentation", config.get("augment", {}).get("mode", "none")),
        ("input", f"{prep['steps']} steps of {prep['size']} x {prep['size']} px"),
        *_network_settings(model),
        ("seed", ", ".join(map(str, scores["seeds"]))),
    ]
    if "epochs" in train:
        rows += [
            ("updates an epoch", plan.get("updates_per_epoch", NOT_RECORDED)),
            ("parameters", plan.get("parameters", NOT_RECORDED)),
            ("devices", plan.get("devices", NOT_RECORDED)),
            ("folds on a device at once", plan.get("folds_per_device", NOT_RECORDED)),
            ("rounds of folds", plan.get("rounds", NOT_RECORDED)),
            ("lift over the folds", plan.get("lift", NOT_RECORDED)),
            ("clips in training", _ON_DEVICE.get(plan.get("data", ""), NOT_RECORDED)),
        ]
    return html.section("What was run", html.definition_list(rows))


def _training_settings(train: Mapping, model: Mapping) -> Iterator[tuple[str, object]]:
    yield "learning rate", _learning_rate(train)
    yield "options", ", ".join(_options(train, model)) or "none"
    yield "epochs", train["epochs"]
    yield "batch", f"{train['batch_size']} clips a fold"


def _network_settings(model: Mapping) -> Iterator[tuple[str, object]]:
    """List the settings of the paper's network, or the name of a baseline network."""
    if name := model.get("name"):
        model_entry = zoo.MODELS[name]
        yield "model", model_entry.title + f" ({model_entry.paper})" * bool(model_entry.paper)
    if "block" in model:
        yield "network", f"{model['block']}, width {model['width']}"
        yield "units in blocks 2 to 5", ", ".join(map(str, model["depths"]))
