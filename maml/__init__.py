"""Few-shot learning on Omniglot with PaddlePaddle. Importing this package has no effect and needs
no PaddlePaddle.
"""
