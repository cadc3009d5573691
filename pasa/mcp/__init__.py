"""The agent as tools for chat clients and editors, over the Model Context Protocol (modelcontextprotocol.io)."""
