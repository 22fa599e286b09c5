"""What can be measured, one file a backend: how a model becomes a file, and which worker runs it."""
