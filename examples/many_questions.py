"""Several questions at once on one event loop; they share the models' batches: python examples/many_questions.py"""

import asyncio

from pasa import PaperAgent, RunResult

QUESTIONS = (
    "which papers study dense retrieval for open-domain question answering?",
    "which papers retrieve passages to answer questions?",
)


async def main() -> None:
    async with PaperAgent(engine="demo", expand_layers=0, search_papers=4) as agent:
        results: list[RunResult] = await asyncio.gather(*(agent.arun(question) for question in QUESTIONS))
    for result in results:
        best = result.papers[0]
        print(result.query.text, f"{best.score:.2f}", best.paper.title, sep="\n   ")


asyncio.run(main())
