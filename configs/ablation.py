"""The paper's ablation (figure 11): its parts added one by one, and each left out of the whole.

    python -m mser_jax.main --config=configs/ablation.py                     (synthetic-smoke)
    python -m mser_jax.main --config=configs/ablation.py:samm --config.data.manual_dir=/path/to/SAMM
    python -m mser_jax.main --config=configs/ablation.py:synthetic-smoke-no_flow  (a member alone)

After the file: DATASET, DATASET-PRESET or DATASET-PRESET-MEMBER. Without a preset it is that of the
data set's own file. Without a member all of them are run, one after the other, and compared:

    base  +flow  +attention  +rc  +fusion      each has one part more; +fusion is the whole network
    no_flow  no_attention  no_rc  no_fusion    the whole network without one part

Fewer of them: --config.ablation.members="('base', '+flow')". Several machines: give each a member
alone with --workdir=FOLDER/MEMBER; the series with --workdir=FOLDER then takes them as they are.
no_fusion is the same network as +rc, and its folder is FOLDER/+rc.

How long: eight trainings (no_fusion is +rc), so up to eight times as long as the data set's own
file; not measured.
"""

from data_prep.common import check
from data_prep.common.errors import UserError
from data_prep.config import IMAGES
from data_prep.datasets.registry import SOURCES
from mser_jax.config import defaults

_DATASETS = [name for name in SOURCES if name not in IMAGES]  # whose clips have frames and time
_FORM = "After configs/ablation.py: stands DATASET, DATASET-PRESET or DATASET-PRESET-MEMBER."


def get_config(argument: str = "synthetic"):
    """Return the configuration of the series, or of one member of it."""
    dataset, *rest = argument.split("-")
    if dataset not in _DATASETS:
        raise UserError(f"{check.unknown_message('data set', dataset, _DATASETS)} {_FORM}")
    if len(rest) > 2:
        raise UserError(f"{argument!r} has more than three parts. {_FORM}")
    preset = rest[0] if rest else "smoke" if dataset == "synthetic" else "paper"
    config = defaults.get_config(dataset, preset)
    return (
        defaults.ablation_member_config(config, rest[1])
        if len(rest) == 2
        else defaults.ablation_config(config)
    )
