#!/usr/bin/env python
"""Finds papers for a question: `python run_paper_agent.py "which papers study ...?"`; see --help."""

from pasa.app import run

if __name__ == "__main__":
    run()
