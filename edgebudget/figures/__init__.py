"""What is drawn of an option: bars against the budget, memory over time, the arena. Data first, pages second."""
