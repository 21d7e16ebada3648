"""lookaside.Lookaside: one address for each call."""
