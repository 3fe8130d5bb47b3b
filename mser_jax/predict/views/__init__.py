"""Answers as text, pictures and a film. Imports the answers and report, never JAX."""
