"""Evidence: what Prometheus counted in both arms, as the guards `compare` and `limit` judge it."""
