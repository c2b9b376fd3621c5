"""How a run executes: its body, steps, activities, and the transactions they share."""
