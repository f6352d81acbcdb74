"""From settings to a trained checkpoint: learners, the loop, run names, resuming, restoring.
Nothing here draws figures or reads the command line.
"""
