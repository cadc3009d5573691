"""Papers for a question, best first: python examples/find_papers.py "which papers ...?" """

import sys

from pasa import PaperAgent, PasaError

QUESTION = "which papers study dense retrieval for open-domain question answering?"

try:
    with PaperAgent(on_note=print) as agent:  # takes what is there; at worst the demo library
        result = agent.run(" ".join(sys.argv[1:]) or QUESTION)
except PasaError as error:  # no question, no library, a model that cannot be loaded
    sys.exit(f"error: {error}")

for found in result.papers[:5]:
    print(found.rank, f"{found.score:.2f}", found.paper.title, found.paper.url, " > ".join(found.path), sep="  ")
