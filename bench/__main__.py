"""Run a measurement by its name, or without a name those of the control plane that the README quotes."""

from __future__ import annotations

import sys

import click

from bench.dashboards import dashboards, queries
from bench.decisions import decisions
from bench.demo_seeds import seeds
from bench.drift import drift
from bench.flags import flags
from bench.flips import flips
from bench.generation import generate
from bench.growth import growth
from bench.healthy import healthy
from bench.ingest import ingest
from bench.scrape import scrape
from bench.shared_file import shared_file
from bench.webhook import webhook

cli = click.Group(
    commands=[
        dashboards,
        queries,
        decisions,
        drift,
        flags,
        flips,
        generate,
        growth,
        healthy,
        ingest,
        scrape,
        seeds,
        shared_file,
        webhook,
    ],
    help="Measure. `python -m bench.demo_streams` simulates the demo's streams without servers.",
)

USUAL = ("flips", "webhook", "flags")
"""What the README quotes of the control plane."""

if __name__ == "__main__":
    for arguments in [sys.argv[1:]] if sys.argv[1:] else [[name] for name in USUAL]:
        cli(arguments, standalone_mode=len(sys.argv) > 1)
