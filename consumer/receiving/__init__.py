"""
The parts of the receiver, one idea each; `consumer.receiver` puts them together.

`edge` is the HTTP side (connections, malformed requests, answers), `body` reads,
`judging` decides whether a delivery counts, `publishing` makes it durable.
"""
