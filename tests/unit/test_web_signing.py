"""Cookies and forms that a browser gives back are those that were given to it, and links lead nowhere else."""

from uuid import uuid4

import pytest

from ordersaga.web.signing import Signer
from ordersaga.web.signing_in import local_path
from ordersaga.web.visit import LINES_MAX, PIECES_MAX, Cart, Session


def test_what_was_signed_is_read_and_nothing_else() -> None:
    signer, other = Signer(b"a secret of ours"), Signer(b"somebody else's")
    cart = Cart(pieces={uuid4(): 2})
    signed = signer.sign("cart", cart)
    assert signer.read("cart", signed, Cart) == cart
    assert signer.read("session", signed, Cart) is None, "signed for something else"
    assert other.read("cart", signed, Cart) is None, "signed by somebody else"
    for changed in (None, "", ".", "x", f"x{signed}", f"{signed}x", signed.replace(".", "")):
        assert signer.read("cart", changed, Cart) is None
    assert signer.read("cart", signer.sign("cart", [1]), Cart) is None, "of another version"


def test_two_sessions_have_two_form_tokens() -> None:
    signer = Signer(b"a secret of ours")
    assert signer.token("csrf", Session().session_id) != signer.token("csrf", Session().session_id)


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/orders?x=1", "/orders?x=1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("orders", "/"),
        ("", "/"),
        ("//[", "/"),
        ("//ｅ℀x", "/"),
    ],
)
def test_a_link_back_stays_on_this_site(path: str, leads: str) -> None:
    assert local_path(path) == leads


def test_a_cart_has_limits() -> None:
    cart = Cart()
    products = [uuid4() for _ in range(LINES_MAX)]
    assert all(cart.put(each, 1_000) for each in products)
    assert cart.pieces[products[0]] == PIECES_MAX
    assert not cart.put(uuid4(), 1)
    assert cart.put(products[0], 0) and products[0] not in cart.pieces
