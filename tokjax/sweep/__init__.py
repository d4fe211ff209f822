"""Sweeps: from one file of named rows to a table. Runs train in processes of their own; their workdirs hold all that is known."""
