"""Errors, checks, files and commands for both packages. Imports nothing else of ours."""
