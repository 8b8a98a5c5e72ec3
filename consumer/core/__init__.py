"""
The rules. Every function here is a function of its arguments.

Law of this folder: no await, no clock, no environment, no logging, no randomness.
Imports: the standard library's pure parts, PyNaCl, PyJWT's key and token parsing,
pydantic, and `consumer.errors`. import-linter and a test hold this.
"""
