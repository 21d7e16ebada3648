"""The protocol of our own, version 1: the messages that a lookaside and its clients exchange."""
