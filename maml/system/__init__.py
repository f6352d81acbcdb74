"""What knows no few-shot learning: errors, files, checkpoints, progress, devices and processes.

Nothing here imports from the rest of the package.
"""
