"""Accuracies and intervals of any classifier on any tasks. Nothing here knows
checkpoints or files.
"""
