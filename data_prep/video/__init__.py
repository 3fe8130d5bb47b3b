"""Frames of videos and folders, read when they are accessed. Imports OpenCV and common."""
