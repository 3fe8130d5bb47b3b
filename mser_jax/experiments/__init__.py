"""The stages of a run, and of many runs. Imports all below it; never predict."""
