"""The stages of one run, and the running of many. Imports all packages below it; never predict."""
