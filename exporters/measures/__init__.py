"""What is computed from events: accumulators, windows, distances, drift, calibration."""
