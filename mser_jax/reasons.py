"""Draws the page of a movement: what the network looked at."""


def write(*_, **__):
    """Not yet."""
    raise NotImplementedError
