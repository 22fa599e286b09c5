"""A zoo of models into one table: each model in a process that may die, every result on disk as it comes."""
