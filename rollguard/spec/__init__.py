"""The rollout file: its schema, its checks, guards and templates, and how it is loaded."""
