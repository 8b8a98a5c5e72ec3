"""The long runs: the product under load and under faults, held against what was promised."""
