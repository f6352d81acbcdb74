"""Raw files to arrays, arrays to tasks, with NumPy and Pillow alone. Nothing here imports Paddle or
knows how tasks are learned.
"""
