"""An OpenID provider of the test's own: discovery, a page to sign in, codes with PKCE, tokens, and a sign-out. It can be made to lie."""

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from html import escape
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.unit.identity_provider import Provider, listening

CLIENT = "the-shop"
SECRET = "a secret of the shop and the provider"
USER = "00000000-0000-4000-8000-0000000000c1"


Answer = tuple[int, bytes, str, str | None]
"""Status, body, kind, and where else to go."""
TROUBLES: dict[str, Answer] = {
    "fails": (500, b"", "text/html", None),
    "nonsense": (200, b"[[nonsense", "application/json", None),
}


class OidcProvider:
    """`changes`: claims of the ID token that differ; `access`: of the access token; `kid`: the key that signs. `mode`: answers, hangs, fails or nonsense."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}/realm"
        self.keys = Provider(port)
        self.keys.new_key("one")
        self.begin()

    def begin(self) -> None:
        """Tell the truth again."""
        self.mode, self.document_changes, self.changes, self.access = "answers", {}, {}, {}
        self.kid, self.roles, self.headers = "one", ["CUSTOMER"], {}
        self.opaque, self.rewritten = False, lambda token: token
        self.codes: dict[str, dict[str, str]] = {}
        self.exchanges, self.renewals = 0, 0
        self.renews = False
        self.lasts_s = 3_600.0
        self.refresh_tokens: dict[str, str] = {}
        self.revoked: list[str] = []
        self.signed_out: list[dict[str, str]] = []

    mode: str
    document_changes: dict[str, Any]
    changes: dict[str, Any]
    access: dict[str, Any]
    headers: dict[str, Any]
    rewritten: Callable[[str], str]

    def discovery(self) -> dict[str, Any]:
        paths = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "keys",
            "end_session_endpoint": "end",
            "revocation_endpoint": "revoke",
        }
        whole = {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in paths.items()}
        return {name: value for name, value in (whole | self.document_changes).items() if value is not None}

    def code_for(self, asked: dict[str, str]) -> str:
        """Sign the user in, and return where the browser goes with the code."""
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        self.exchanges += 1
        if authorization != "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode():
            return 401, {"error": "invalid_client"}
        if form.get("grant_type") == "refresh_token":
            return self.renew(form["refresh_token"])
        asked = self.codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if (
            asked is None
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
            or form.get("grant_type") != "authorization_code"
        ):
            return 400, {"error": "invalid_grant"}
        return 200, self.tokens(asked["nonce"])

    def tokens(self, nonce: str | None) -> dict[str, Any]:
        times = {"iat": int(time.time()), "exp": int(time.time() + self.lasts_s)}
        access = self.keys.token(
            "one", **({"sub": USER, "iss": self.issuer, "roles": self.roles} | times | self.access)
        )
        claims: dict[str, Any] = {"sub": USER, "iss": self.issuer, "aud": CLIENT, "roles": self.roles, **times}
        claims |= {"nonce": nonce} if nonce else {}
        id_token = self.keys.token(self.kid, headers=self.headers, **(claims | self.changes))
        made: dict[str, Any] = {
            "id_token": self.rewritten(id_token),
            "access_token": "opaque" if self.opaque else access,
            "token_type": "Bearer",
            "expires_in": int(self.lasts_s),
        }
        if self.renews:
            made["refresh_token"] = secrets.token_urlsafe(24)
            self.refresh_tokens[made["refresh_token"]] = USER
        return made

    def renew(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        """Each refresh token counts once; one that is used again ends the session, as providers do that suspect a thief."""
        self.renewals += 1
        if self.refresh_tokens.pop(refresh_token, None) is None:
            self.refresh_tokens.clear()
            return 400, {"error": "invalid_grant", "error_description": "used or revoked"}
        return 200, self.tokens(None)

    def form(self, path: str, form: dict[str, str], authorization: str) -> Answer:
        """What follows a form."""
        if path == "authorize":
            return 303, b"", "text/html", self.code_for(form)
        if path == "revoke":
            self.revoked.append(form["token"])
            return 200, b"", "application/json", None
        status, body = self.exchange(form, authorization)
        return status, json.dumps(body).encode(), "application/json", None

    def page(self, path: str, query: dict[str, str]) -> Answer:
        """What is at an address."""
        if path == ".well-known/openid-configuration":
            return 200, json.dumps(self.discovery()).encode(), "application/json", None
        if path == "keys":
            return 200, self.keys.document(), "application/json", None
        if path == "authorize":
            hidden = "".join(f'<input type="hidden" name="{each}" value="{escape(query[each])}">' for each in query)
            form = f'<form method="post" action="/realm/authorize">{hidden}<button>It is me</button></form>'
            return (
                200,
                f'<!doctype html><link rel="icon" href="data:,"><title>Provider</title>{form}'.encode(),
                "text/html",
                None,
            )
        if path == "end":
            self.signed_out.append(query)
            return 303, b"", "text/html", query["post_logout_redirect_uri"]
        return 404, b"", "text/html", None


@contextlib.contextmanager
def serving() -> Iterator[OidcProvider]:
    """The provider's server, on a free port."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self._answer(provider.page(url.path.removeprefix("/realm/"), dict(parse_qsl(url.query))))

        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            authorization = self.headers.get("Authorization", "")
            self._answer(provider.form(self.path.removeprefix("/realm/"), form, authorization))

        def _answer(self, answer: Answer) -> None:
            if provider.mode == "hangs":
                released.wait(60)
                return
            status, body, kind, location = TROUBLES.get(provider.mode, answer)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler, released) as port:
        provider = OidcProvider(port)
        yield provider
