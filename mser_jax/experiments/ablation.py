"""The ablation: one run for each member, in turn, on the same clips and folds."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mser_jax.config import defaults, validation
from mser_jax.evaluate import predictions_csv
from mser_jax.evaluate.compare import ablation
from mser_jax.experiments import provenance, run
from mser_jax.experiments.workdir import open_workdir
from mser_jax.report import ablation as ablation_report
from mser_jax.storage.log import Log


def run_ablation(config: ConfigDict, workdir: str, mode: str) -> None:
    """Run every unfinished member of the ablation, then compare all members.

    Args:
      config: Configuration from `config.defaults.ablation_config`, with the user's changes; they
        hold for every member.
      workdir: Folder of the ablation, in which each member has a folder named after it; '' for a
        folder under runs/.
      mode: Mode of `run.run` for each member; 'train' makes no comparison.

    Raises:
      UserError: A field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: The user stopped the run, and its state is saved.
    """
    validation.validate(config)
    folder = open_workdir(config, workdir)
    members = [name for name in ablation.MEMBERS if name in config.ablation.members]
    print(f"Ablation: {folder}")
    if mode in ("all", "train"):  # the page shows the command that trained
        Log(folder / "log.jsonl").write("start", **provenance.provenance(config, mode))
    done = set()
    for number, member in enumerate(members, 1):
        print(f"\nMember {number} of {len(members)}: {member}", flush=True)
        canonical = ablation.canonical_member(member)
        if canonical != member:
            print(f"{member} is the same network as {canonical}: one training, used for both.")
        if canonical not in done:
            run.run(defaults.ablation_member_config(config, member), str(folder / canonical), mode)
            done.add(canonical)
    if mode != "train":
        _compare(folder, members, config)


def _compare(folder: Path, members: Sequence[str], config: ConfigDict) -> None:
    homes = {member: folder / ablation.canonical_member(member) for member in members}
    results = ablation.results(
        {
            member: predictions_csv.read_csv(home / "predictions.csv")
            for member, home in homes.items()
        },
        config.evaluation.select,
        config.data.dataset,
    )
    path = ablation_report.write(
        folder,
        results,
        config.to_dict(),
        Log(folder / "log.jsonl").read(),
        {member: Log(home / "log.jsonl").read() for member, home in homes.items()},
    )
    print(f"\n{ablation_report.text_table(results)}\n\nAblation: {path}")
