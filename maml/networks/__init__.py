"""The networks: parameters as an explicit list, and the forward pass as a pure function of it.
Nothing here knows about tasks, losses or training.
"""
