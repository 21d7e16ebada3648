"""The ways to a backend, from the problem to the solution; each module holds one."""
