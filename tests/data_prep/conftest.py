"""Fixtures that several tests of the preprocessing share."""

from helpers.releases import casme2, smic

__all__ = ["casme2", "smic"]
