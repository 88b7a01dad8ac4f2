"""Rendering: rollout files and templates to rules, rule tests, routing, scrape configuration, dashboards."""
