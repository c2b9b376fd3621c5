"""The shop's revisions, the oldest first."""
