"""One file for each paper, in its symbols, and what several of them share. An algorithm imports no
settings, logs, files or other algorithms.
"""
