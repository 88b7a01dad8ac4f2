"""Grafana: its JSON brought up to date, and dashboards pushed into a running one."""
