"""Threads of the control plane: watch Prometheus, reconcile with Alertmanager, announce to people."""
