"""What Stock and Payment say as text in their answers, which Order keeps and shows.

A message has no field for a sentence's code. Order reads the code out of the text, and takes any other text, such as another team's, as it is.
"""

from typing import Final

from ordersaga.said import Said, Sentence, joined, read_back, say

NO_PRODUCT: Final = Sentence("answer.no_product", "there is no product {product}")
SHORT: Final = Sentence("answer.short", "product {product}: asked for {asked}, available {available}")
OVERTAKEN: Final = Sentence("answer.overtaken", "the order was rolled back before it was reserved")
NOTHING_NAMED: Final = Sentence("answer.nothing_named", "the rollback names no products")
NEVER_RESERVED: Final = Sentence("answer.never_reserved", "product {product} was never reserved for this order")
OTHER_QUANTITY: Final = Sentence("answer.other_quantity", "product {product}: {reserved} were reserved, not {asked}")

NO_PAYMENT: Final = Sentence("answer.no_payment", "no payment with this key is known here")
OTHER_ORDER: Final = Sentence("answer.other_order", "the payment key belongs to another order")
AMOUNT_MIN: Final = Sentence("answer.amount_min", "the amount must be at least 1 won")
REQUEST_ID_USED: Final = Sentence("answer.request_id_used", "this requestId was used for a refund of {amount} won")
UNKNOWN_KEY: Final = Sentence("answer.unknown_key", "the gateway does not know this payment key")
FOREIGN_KEY: Final = Sentence("answer.foreign_key", "the payment key belongs to another order at the gateway")
NOTHING_CAPTURED: Final = Sentence("answer.nothing_captured", "nothing was captured")
STILL_HELD: Final = Sentence("answer.still_held", "{amount} won are still held")

OURS: Final = (
    *(NO_PRODUCT, SHORT, OVERTAKEN, NOTHING_NAMED, NEVER_RESERVED, OTHER_QUANTITY),
    *(NO_PAYMENT, OTHER_ORDER, AMOUNT_MIN, REQUEST_ID_USED, UNKNOWN_KEY, FOREIGN_KEY, NOTHING_CAPTURED, STILL_HELD),
)
SEPARATOR: Final = "; "


def understood(text: str) -> str:
    """The text with the sayings of our sentences in it: one, several in a row, or one behind a gateway's code."""
    if isinstance(whole := read_back(text, OURS), Said):
        return whole
    parts = [read_back(each, OURS) for each in text.split(SEPARATOR)]
    if all(isinstance(each, Said) for each in parts):
        return joined(SEPARATOR, parts)
    code, colon, rest = text.partition(": ")
    said = read_back(rest, OURS) if colon else rest
    return say("answer.code", "{answer}: ", answer=code) + said if isinstance(said, Said) else text


def words(text: str | None) -> Said:
    """What an answer says, to be added to a sentence about it: by our codes, or in the answer's own words."""
    said = understood(str(text))
    return said if isinstance(said, Said) else say("answer.words", "{words}", words=said)
