"""A process that works on runs: its heartbeat, its claims, its threads."""
