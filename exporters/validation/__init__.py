"""The exporter of a validation of signals: decisions and executions."""
