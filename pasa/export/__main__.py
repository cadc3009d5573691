"""python -m pasa.export RESULT.json --format bibtex"""

import sys

from pasa.export.command import main

if __name__ == "__main__":
    sys.exit(main())
