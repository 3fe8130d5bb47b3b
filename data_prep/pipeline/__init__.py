"""The path from a release or a video to a set of clips. Imports all other packages."""
