"""The page of one run, in its parts. Imports report, evaluate, and shards for pictures."""
