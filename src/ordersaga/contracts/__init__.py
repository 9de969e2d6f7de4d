"""The wire and nothing else: messages, topics, status codes and their JSON.

Imports nothing of ours. Start with `messages.py`; `topics.py` says who writes and who reads each of them.
"""
