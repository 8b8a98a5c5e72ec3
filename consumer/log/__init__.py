"""
The event log: one seam (`consumer.ports.Log`), one module for each engine.

`embedded` is the engine on SQLite; `blocks`, `files`, `room`, `appender`, `retention`,
`reader` and `groups` are its parts and are imported by nobody else.
"""
