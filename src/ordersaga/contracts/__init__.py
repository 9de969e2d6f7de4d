"""The wire format and nothing else: messages, topics, status codes and their JSON.

Imports nothing else of ordersaga. Start with `messages.py`; `topics.py` says which service writes each message and which one reads it.
`asyncapi.py`, `schemas.py` and `code/` say the same to other teams: as a document, as JSON Schemas, and as types of their languages.
"""
