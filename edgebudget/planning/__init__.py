"""Lifetimes to an arena: pure functions, and an independent verifier."""
