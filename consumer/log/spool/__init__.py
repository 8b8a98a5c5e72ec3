"""
The spool: the embedded log as a waiting room in front of Kafka.

`publisher` is the front: a `Publisher` that goes to Kafka, and to the spool while Kafka does
not answer. `course` decides which, as values; `gate` holds those decisions for the process;
`spool` is one spool on disk, `drain` empties it, `places` knows the folders and their locks,
`marks` what a waiting record carries besides itself, `upkeep` serves the commands.
"""
