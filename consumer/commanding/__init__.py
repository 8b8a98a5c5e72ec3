"""
Putting a command on the log for a running service, and seeing what comes of it.

For whoever asks from outside: the command line, and the tools for agents. Nothing here calls
fal, and nothing here words a sentence for a particular reader.
"""
