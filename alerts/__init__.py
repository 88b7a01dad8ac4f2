"""Detection: the library of guard templates, and what they render to for the shipped rollouts."""
