"""Find the movements in a long video, frame by frame. Imports the stages and common."""
