"""One module a command: its flags, calls into the library, and words. Nothing here computes."""
