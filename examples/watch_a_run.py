"""Watches a run and ends it once enough papers are selected: python examples/watch_a_run.py "which papers ...?" """

import sys

from pasa import PaperAgent
from pasa.events import ActionsTaken, LayerStarted, PaperScored, RunDone

QUESTION = "which papers study dense retrieval for open-domain question answering?"
ENOUGH = 4  # papers

with PaperAgent(engine="demo") as agent:
    selected = 0
    for event in agent.stream(" ".join(sys.argv[1:]) or QUESTION):
        match event:
            case LayerStarted(layer=layer):
                print("layer", layer)
            case ActionsTaken(title=title, arguments=arguments):
                print("  ", title or "search", "->", ", ".join(arguments))
            case PaperScored(paper, score, selected=True):
                print(f"   {score:.2f}", paper.title)
                selected += 1
                if selected == ENOUGH:
                    agent.stop()  # what was found so far is kept
            case RunDone(result):
                print(len(result.papers), "papers;", "ended by:", result.stats.budget_reached or "itself")
