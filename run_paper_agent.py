#!/usr/bin/env python
"""Finds papers for a question: `python run_paper_agent.py "which papers study ...?"`; see --help."""

import sys

from pasa.app import main

if __name__ == "__main__":
    sys.exit(main())
