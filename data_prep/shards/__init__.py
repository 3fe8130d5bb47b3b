"""The set of clips on disk, whole or not at all. Imports TensorFlow Datasets and stages."""
