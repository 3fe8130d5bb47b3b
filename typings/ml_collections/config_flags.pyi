from typing import Any

from absl import flags

def DEFINE_config_file(
    name: str,
    default: str | None = None,
    help: str = ...,
    flag_values: flags.FlagValues = ...,
) -> flags.FlagHolder[Any]: ...
