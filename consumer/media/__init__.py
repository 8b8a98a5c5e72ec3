"""
The files of a result, saved: without the key, from known places alone, under names of ours.

`places`, `naming` and `answers` are pure; `download` does it. Names are loaded where they
are used: settings judge places, and must not wait for an HTTP client.
"""
