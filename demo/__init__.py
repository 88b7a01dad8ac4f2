"""The demonstration: a real regression, found by a real guard, becomes a flipped flag."""
