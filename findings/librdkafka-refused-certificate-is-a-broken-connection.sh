#!/usr/bin/env bash
# Software: confluent-kafka 2.16.1 (librdkafka 2.16.0, with its own OpenSSL).
#
# Behaviour: a broker that asks for certificates and does not take the client's refuses it by an alert of TLS. With TLS 1.3
# librdkafka reports that as _TRANSPORT, the code of a broker that is away or restarts; the alert stands in the text alone.
# With TLS 1.2 the code is _SSL or _TRANSPORT, by chance, and so it is with both versions where the client does not trust
# the broker's certificate.
#
# Expected: _SSL each time, since TLS has failed and no later try will do better; the Java client raises
# SslAuthenticationException. A program that ends with a message at _SSL, and waits at _TRANSPORT, waits for ever.
#
# The broker is a server that asks for certificates by Python's ssl: no client comes further than TLS.
#
# Seen (the first errors of forty clients each; all numbers but those of the last two lines are others at each run):
#   TLSv1_2, the client does not trust the broker: _SSL 25 times, _TRANSPORT 15 times
#   TLSv1_2, the client has no certificate:        _SSL 29 times, _TRANSPORT 11 times
#   TLSv1_2, the certificate is of another CA:     _SSL 34 times, _TRANSPORT 6 times
#   TLSv1_3, the client does not trust the broker: _SSL 20 times, _TRANSPORT 20 times
#   TLSv1_3, the client has no certificate:        _TRANSPORT 40 times
#   TLSv1_3, the certificate is of another CA:     _TRANSPORT 40 times
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1 trustme==1.2.1 || exit 2

cd "$folder"
venv/bin/python - <<'PY'
import contextlib
import socket
import ssl
import sys
import time
from collections import Counter
from threading import Thread

import trustme
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

ours, foreign = trustme.CA(), trustme.CA()
server = ours.issue_cert("127.0.0.1")
ours.cert_pem.write_to_path("ours.pem")
foreign.cert_pem.write_to_path("foreign.pem")
foreign.issue_cert("client@shop.example").private_key_and_cert_chain_pem.write_to_path("client.pem")


def answer(connection, context):
    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(1000)


def listen(version):
    """The address of a server that takes clients with a certificate of ours, and this version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    server.configure_cert(context)
    ours.configure_trust(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            Thread(target=answer, args=(listener.accept()[0], context), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    return "127.0.0.1:{}".format(listener.getsockname()[1])


def first_error(address, options):
    """The code of a connection's first error."""
    seen = []
    config = {"bootstrap.servers": address, "security.protocol": "ssl", "error_cb": seen.append, "log_level": 0}
    client = AdminClient(config | options)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        client.poll(0.1)
        for each in seen:
            if each.code() != KafkaError._ALL_BROKERS_DOWN:
                return each.name()
    sys.exit("no error in time")


CLIENTS = {
    "the client does not trust the broker": {"ssl.ca.location": "foreign.pem"},
    "the client has no certificate": {"ssl.ca.location": "ours.pem"},
    "the certificate is of another CA": {
        "ssl.ca.location": "ours.pem",
        "ssl.certificate.location": "client.pem",
        "ssl.key.location": "client.pem",
    },
}
seen = []
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    address = listen(version)
    for said, options in CLIENTS.items():
        codes = Counter(first_error(address, options) for _ in range(40))
        seen.append(codes)
        counted = ", ".join(f"{code} {count} times" for code, count in sorted(codes.items()))
        print(f"{f'{version.name}, {said}:':46} {counted}")
refused = {"_TRANSPORT": 40}
sys.exit(seen[4:] != [refused, refused] or any(not codes["_SSL"] for codes in seen[:4]))
PY
