"""The exporter of a stock screener: its lines in the Celery log, and its scans in the database."""
