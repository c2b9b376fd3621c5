"""What things cost, measured: programs to be run by hand, never timed tests."""
