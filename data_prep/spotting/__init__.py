"""Spotting of movements in a long video, frame by frame. Imports stages and common."""
