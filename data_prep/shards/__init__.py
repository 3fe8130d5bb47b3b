"""The set of clips on disk, complete or absent. Imports TensorFlow Datasets and stages."""
