"""The shop on DBOS and on Restate: a workflow for each order instead of records, one database, no Kafka.

The programs run in an environment of their own, with the requirements of `requirements/engines.txt`; Restate's server comes from npm.
`engine_shops.py` installs and starts them.
"""
