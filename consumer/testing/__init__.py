"""Fakes of every port, shipped for users' tests; each passes the conformance suite of its port."""
