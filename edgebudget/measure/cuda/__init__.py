"""Peaks of eager PyTorch on a CUDA GPU. What measures needs torch and torchvision alone, so that it can be carried."""
