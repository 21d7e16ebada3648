"""ORCA load reports (xds.data.orca.v3)."""
