"""Fields of a run, presets, checks, and networks by configuration. Depends on ConfigDict."""
