"""How large values may be: numbers, and texts in characters. Our services neither write longer texts nor take them over HTTP.

A longer text in a partner's record is read all the same.
"""

from typing import Final

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
ORDER_NAME_CHARS_MAX: Final = 200
ADDRESS_CHARS_MAX: Final = 300
ZIPCODE_CHARS_MAX: Final = 20
PHONE_CHARS_MAX: Final = 40
PERSON_CHARS_MAX: Final = 100
MEMO_CHARS_MAX: Final = 500
PAYMENT_KEY_CHARS_MAX: Final = 200
PRODUCT_NAME_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 500
"""What a service says in words, such as why a payment was declined."""
