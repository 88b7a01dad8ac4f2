"""Alertmanager's configuration: receivers, routes, inhibition."""
