"""
The event log: one seam (`consumer.ports.Log`), one module for each engine.

`embedded` is the engine on SQLite. Its parts are imported by nobody else: `appender`,
`current`, `insert` and `room` write, `retention` trims, `reader` and `subscription` read,
`blocks`, `files` and `groups` say what lies on the disk.
"""
