"""A process of the cluster: `legato ...`, if wanted with a part of its safety broken.

python program.py SABOTAGE,... COMMAND BOT [FLAGS]
"""

import sys
from pathlib import Path

from legato.cli.main import main

if __name__ == "__main__":
    broken = [name for name in sys.argv[1].split(",") if name]
    if broken:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from tests.chaos.sabotage import SABOTAGE

        for name in broken:
            SABOTAGE[name]()
    raise SystemExit(main(sys.argv[2:]))
