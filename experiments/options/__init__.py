"""The options of the programs: command lines, the settings that they stand for, and their checks."""
