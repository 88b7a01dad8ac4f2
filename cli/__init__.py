"""The command line: the one place that prints, and that knows every part."""
