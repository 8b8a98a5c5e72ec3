"""
What is done with records: one module per consumer group, and the parts that groups and
sweeps share. They know `core` and `ports`, never a backend. Twice is harmless.
"""
