"""Checkpoints, weights and logs on disk. Imports models and hosts, nothing that trains."""
