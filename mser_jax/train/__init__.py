"""Train all folds at once. Imports data, models, storage, parallel; never evaluate or report."""
