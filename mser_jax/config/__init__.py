"""Fields of a run, presets, checks, and the network that they name. Knows ConfigDict."""
