"""
fal's operations as tools for agents, over the Model Context Protocol (MCP).

`arguments` and `answers` are what goes in and comes out, `reading` and the two modules of
`changing` what is done, `tools` the list an agent sees, `sentences` what it is told when
something is not as it should be. `server` joins them to the official SDK, `serving` to a
transport. Imports the package `mcp`, which is an extra: nobody imports this one without need.
"""
