"""Alerting and recording rules: expressions, timing, headroom, the platform's own."""
