"""Clips and videos with known motion. Imports common and scikit-image."""
