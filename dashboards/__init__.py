"""Presentation: functions that return grafanalib Dashboards, by what they show."""
