"""Read the composite of MEGC 2019 as videos. Imports its three readers."""
