"""Show what the network looked at. Imports predict, models and report."""
