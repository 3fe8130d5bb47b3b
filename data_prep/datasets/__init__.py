"""The databases: a reader and a database.toml in a folder each. Imports base and synthetic."""
