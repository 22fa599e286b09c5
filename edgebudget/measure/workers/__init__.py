"""The processes that are measured: each loads one model, runs it, and prints what it took."""
