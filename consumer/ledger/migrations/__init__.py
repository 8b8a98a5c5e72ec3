"""
The steps from one schema to the next, run by `consumer.ledger.migration`.

A revision is called after the version of the product that first knows it, `v0.1.0_1`, so
that an older one can say which version it would take. Steps are never edited once released.
"""
