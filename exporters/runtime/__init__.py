"""What runs every exporter: decoding, following sources, checkpoints, health and the HTTP server."""
