"""
What a worker is made of; its front is `consumer.worker`.

`terms` says what it is given, `hand` what it has in hand, `attempts` what becomes of one
record.
"""
