"""Errors, checks, files and command line code for both packages. Imports no other package here."""
