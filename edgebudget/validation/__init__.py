"""The estimate held against what real runtimes took: one comparison a figure, and a table of errors."""
