"""Generated code of the protocols."""
