"""Shared code of the database readers. Imports video and the landmarks."""
