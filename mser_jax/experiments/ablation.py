"""The members of the ablation as runs: one after the other, on the same clips and folds."""

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
    """Run every member that is not done yet, then compare them.

    Args:
      config: of `config.defaults.series`, with the user's changes; they hold for every member.
      workdir: each member has a folder in it, named after it; '' for a folder under runs/.
      mode: as in `run.run`, for each member; 'train' compares nothing.

    Raises:
      UserError: a field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: stopped by the user, after saving.
    """
    validation.validate(config)
    folder = open_workdir(config, workdir)
    members = [name for name in ablation.MEMBERS if name in config.ablation.members]
    print(f"Ablation: {folder}")
    if mode in ("all", "train"):  # so that the page shows the command that trained
        Log(folder / "log.jsonl").write("start", **provenance.provenance(config, mode))
    done = set()
    for number, member in enumerate(members, 1):
        print(f"\nMember {number} of {len(members)}: {member}", flush=True)
        home = ablation.canonical_member(member)
        if home != member:
            print(f"{member} is the same network as {home}: one training, used for both.")
        if home not in done:
            run.run(defaults.ablation_member_config(config, member), str(folder / home), mode)
            done.add(home)
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
