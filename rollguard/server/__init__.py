"""The control plane's HTTP: webhook, OFREP, JSON API, metrics, health; and the process around it."""
