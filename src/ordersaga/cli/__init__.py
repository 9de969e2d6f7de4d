"""The command line: one file per group of commands. May import everything. Start with `main.py`."""
