"""An identity provider of the test's own: its keys, tokens signed with them, and a server that may hang, be away or answer nonsense."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Provider:
    """Keys by id, and how many look-ups came at `url`. `mode`: answers, hangs, fails or nonsense."""

    def __init__(self, port: int) -> None:
        self.keys: dict[str, Key] = {}
        self._port = port
        self._begun = 0
        self.begin()

    def begin(self) -> None:
        """Answer from now on, at a path of its own: a look-up of an earlier test may come as late as it will."""
        self.look_ups, self.mode = 0, "answers"
        self._begun += 1

    @property
    def path(self) -> str:
        return f"/keys/{self._begun}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self.path}"

    def new_key(self, kid: str, algorithm: str = "RS256") -> None:
        if algorithm == "ES256":
            self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        else:
            self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, kid: str = "one", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for an hour, with these claims; None takes one away."""
        whole = {"sub": "00000000-0000-0000-0000-000000000007", "exp": int(time.time()) + 3_600} | claims
        whole = {name: value for name, value in whole.items() if value is not None}
        # What is no time or text must come into the token too, so the library that makes it does not look at it.
        return jwt.api_jws.encode(
            json.dumps(whole).encode(),
            self.keys[kid],
            _algorithm(self.keys[kid]),
            headers={"kid": kid, "typ": "JWT"} | (headers or {}),
        )

    def document(self) -> bytes:
        keys = [_jwk(key) | {"kid": kid, "use": "sig", "alg": _algorithm(key)} for kid, key in self.keys.items()]
        return json.dumps({"keys": keys}).encode()


def _algorithm(key: Key) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def _jwk(key: Key) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler], released: threading.Event) -> Iterator[int]:
    """A server with this handler on a free port, which it gives. At the end `released` is set, for handlers that hang until then."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """The provider's server, on a free port."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == provider.path:
                provider.look_ups += 1
            if provider.mode == "hangs":
                released.wait(20)
                return
            body = b"nonsense" if provider.mode == "nonsense" else provider.document()
            self.send_response(503 if provider.mode == "fails" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler, released) as port:
        provider = Provider(port)
        yield provider
