"""The command line: one module for each group of commands, thin over the functions of the package."""
