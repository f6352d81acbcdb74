"""One file for each paper, in its symbols, and what several of them share. An algorithm imports no
settings, logs or files, and no other algorithm but the one that it extends.
"""
