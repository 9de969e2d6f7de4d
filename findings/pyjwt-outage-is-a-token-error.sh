#!/usr/bin/env bash
# Software: PyJWT 2.15.1.
#
# Behaviour: `PyJWKClient` raises PyJWKClientConnectionError when the identity provider cannot be reached or
# answers 503. That class is a PyJWTError, as is the error for a key id that the provider does not have. A
# provider whose proxy answers 200 with an HTML page raises json.JSONDecodeError, which is no PyJWTError at
# all.
#
# Expected: errors of the token under PyJWTError, errors of the provider outside of it, or at least all of the
# provider's errors on one side. A service that answers 401 to every PyJWTError tells its clients during an
# outage that their tokens are bad, and answers 500 to the page.
#
# Seen:
#   unknown key id:   PyJWKClientError            PyJWTError: True
#   answer 503:       PyJWKClientConnectionError  PyJWTError: True
#   nobody listens:   PyJWKClientConnectionError  PyJWTError: True
#   answer is HTML:   JSONDecodeError             PyJWTError: False
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check PyJWT==2.15.1 || exit 2

"$folder/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt


class Provider(BaseHTTPRequestHandler):
    answer = (200, b"")

    def do_GET(self):
        status, body = Provider.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/keys"
token = jwt.encode({"sub": "someone"}, "s" * 32, headers={"kid": "ours"})


def raised():
    try:
        jwt.PyJWKClient(url, timeout=5).get_signing_key_from_jwt(token)
    except Exception as error:
        return type(error).__name__, isinstance(error, jwt.PyJWTError)
    return "nothing", False


seen = {}
Provider.answer = 200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "another"}]}'
seen["unknown key id"] = raised()
Provider.answer = 503, b""
seen["answer 503"] = raised()
Provider.answer = 200, b"<html>Back soon</html>"
page = raised()
server.shutdown()
server.server_close()
seen["nobody listens"] = raised()
seen["answer is HTML"] = page
for case, (name, of_jwt) in seen.items():
    print(f"{case + ':':17} {name:27} PyJWTError: {of_jwt}")
sys.exit(
    seen
    != {
        "unknown key id": ("PyJWKClientError", True),
        "answer 503": ("PyJWKClientConnectionError", True),
        "nobody listens": ("PyJWKClientConnectionError", True),
        "answer is HTML": ("JSONDecodeError", False),
    }
)
PY
