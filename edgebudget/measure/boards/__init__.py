"""Boards to measure on: emulated ones with the core and the RAM that are asked for, and real ones over ssh."""
