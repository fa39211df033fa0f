"""The `legato` command where there is no pip."""

import sys

from legato.cli.main import main

if __name__ == "__main__":
    sys.modules["pip"] = None  # type: ignore[assignment] # an import of it fails
    raise SystemExit(main())
