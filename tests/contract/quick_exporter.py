"""`rollguard export`, asking databases twice a second: what a test waits for would take minutes."""

from __future__ import annotations

from typing import Any

from rollguard.cli.main import main
from rollguard.exporters.sources import sql

POLL_SECONDS = 0.5

if __name__ == "__main__":
    usual = sql.SqlSource.__init__

    def quick(self: sql.SqlSource, *arguments: Any, **options: Any) -> None:
        usual(self, *arguments, **{**options, "poll_seconds": POLL_SECONDS})

    sql.SqlSource.__init__ = quick  # type: ignore[method-assign]
    main()
