"""Measurements beside the estimates, and the fits that correct the one by the other."""
