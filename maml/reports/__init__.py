"""What people look at: console lines, VisualDL's log, figures and tables. Nothing here computes
results.
"""
