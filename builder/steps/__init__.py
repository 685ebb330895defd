"""Carrying out the steps that are missing: who runs when, over which files, and what a RUN is given."""
