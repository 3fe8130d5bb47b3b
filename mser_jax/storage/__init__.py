"""Keep checkpoints, weights and log. Imports models and hosts; knows no training."""
