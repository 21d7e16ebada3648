"""The objects that a pool owns: what they should be, and how they differ from what is there. Pure."""
