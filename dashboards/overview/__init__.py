"""Dashboards of every rollout: all of them, one of them, and the platform that watches."""
