"""The command line: a module for each command, which registers its own arguments."""
