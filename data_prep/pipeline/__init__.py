"""A release or a video through all stages, to a set of clips. Imports all other folders."""
