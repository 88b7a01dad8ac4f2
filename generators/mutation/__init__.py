"""Mutation testing of alerting rules: mutants, equivalents, runs."""
