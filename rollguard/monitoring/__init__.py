"""What Alertmanager and Prometheus are asked and say: alerts, silences, rules, queries, observations."""
