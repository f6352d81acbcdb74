"""What users hold in their hands: the choice of weights, and their predictions. Nothing here
trains.
"""
