"""What knows no few-shot learning: errors, files written whole, the checkpoint format, progress,
the device and processes. Nothing here imports from the rest of the package.
"""
