"""The operators' console: what is wrong, where, and what to do about it, over all four services.

Start with `routes.py`. `staff.py` says who may see and who may act. `reading.py` asks the services, each for its own part: a service that does
not answer takes only its part from a page. `overview.py` and `flow.py` are the pure parts of the first page; `editing.py` makes a form of a
message's JSON schema. Every act goes to the service that has the thing, which checks the role again and writes the trail.
"""
