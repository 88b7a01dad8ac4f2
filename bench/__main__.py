"""`make bench`: every measurement by name; without one, the one that the README quotes."""

from __future__ import annotations

import sys

import click

from bench.dashboards import dashboards, queries
from bench.demo_seeds import seeds
from bench.drift import drift
from bench.flags import flags
from bench.flips import flips
from bench.generation import generate
from bench.growth import growth
from bench.ingest import ingest
from bench.scrape import scrape
from bench.webhook import webhook

cli = click.Group(
    commands=[
        dashboards,
        queries,
        drift,
        flags,
        flips,
        generate,
        growth,
        ingest,
        scrape,
        seeds,
        webhook,
    ],
    help="Measure. `python -m bench.demo_streams` simulates the demo's streams without servers.",
)

if __name__ == "__main__":
    cli(sys.argv[1:] or ["flips"])
