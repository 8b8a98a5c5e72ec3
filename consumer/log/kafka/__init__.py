"""
The event log on Apache Kafka, through aiokafka, harnessed.

`log` joins the parts and is the port; `producer` and what it stands on publish,
`subscription` and `reading` read, `topics` makes and judges topics. `place` holds the plain
values that all of them take. No error of the library leaves this folder.
"""
