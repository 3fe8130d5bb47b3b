"""Clips, folds and batches. Imports parallel; only dataset and stream read shards."""
