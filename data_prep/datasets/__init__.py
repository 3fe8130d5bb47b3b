"""The databases: one folder each, with a reader and a database.toml. Imports base and synthetic."""
