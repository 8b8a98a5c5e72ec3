"""The operators' listener: health, readiness and metrics. Never the receiver's socket."""
