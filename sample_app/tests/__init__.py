"""The shop's tests: Operon's testing kit, and nothing else."""
