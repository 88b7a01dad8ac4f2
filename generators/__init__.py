"""Rendering: rollout files and guard templates to rules, rule tests, scrape and routing configuration."""
