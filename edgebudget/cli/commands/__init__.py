"""Subcommands, one file each: `register(app)` adds it. What is heavy is imported when the command runs."""
