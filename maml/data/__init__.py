"""Raw files to arrays, and arrays to tasks, with NumPy and Pillow alone.

Nothing here imports Paddle or knows how tasks are learned.
"""
