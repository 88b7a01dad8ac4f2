"""PromQL: its syntax, what an expression reads, compares and measures."""
