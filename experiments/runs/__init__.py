"""Runs of the programs: their folders, the steps that are kept there, and how they stop and go on."""
