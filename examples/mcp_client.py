"""Asks the MCP server as a chat client does: python examples/mcp_client.py "which papers ...?" """

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

QUESTION = "which papers study dense retrieval for open-domain question answering?"
SERVER = StdioServerParameters(
    command=sys.executable, args=["-m", "pasa.mcp", "--engine", "demo"], env=dict(os.environ)
)


async def tell(progress: float, total: float | None, message: str | None) -> None:
    print("  ", message)


async def main(question: str) -> None:
    async with Client(SERVER) as client:
        print("tools:", ", ".join(tool.name for tool in (await client.list_tools()).tools))
        answer = await client.call_tool("search_papers", {"question": question, "limit": 3}, progress_callback=tell)
        if answer.is_error:
            print(answer.content[0].text)
            return
        found = answer.structured_content or {}
        for paper in found["papers"]:
            print(paper["rank"], f"{paper['score']:.2f}", paper["title"], paper["url"])
        bibliography = await client.call_tool("export", {"run_id": found["run_id"], "format": "bibtex", "ranks": [1]})
        print((bibliography.structured_content or {})["text"])


asyncio.run(main(" ".join(sys.argv[1:]) or QUESTION))
