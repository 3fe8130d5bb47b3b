"""Frames of videos and of folders, read as they are asked for. Imports OpenCV and common."""
