"""What the readers of the databases share. Imports video and the landmarks."""
