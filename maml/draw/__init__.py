"""The page to draw on, and the server behind it. All it knows of learning is the classifier."""
