"""Toss's error codes: the HTTP status of each per call, and its text in English and Korean. Source: Toss's error reference."""

from typing import Final, Literal

Call = Literal["confirm", "cancel", "get"]

_STATUSES: Final[dict[Call, dict[int, str]]] = {
    "confirm": {
        400: """ALREADY_PROCESSED_PAYMENT PROVIDER_ERROR EXCEED_MAX_CARD_INSTALLMENT_PLAN INVALID_REQUEST NOT_ALLOWED_POINT_USE
            INVALID_API_KEY INVALID_REJECT_CARD BELOW_MINIMUM_AMOUNT INVALID_CARD_EXPIRATION INVALID_STOPPED_CARD
            EXCEED_MAX_DAILY_PAYMENT_COUNT NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT INVALID_CARD_INSTALLMENT_PLAN
            NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN EXCEED_MAX_PAYMENT_AMOUNT NOT_FOUND_TERMINAL_ID INVALID_AUTHORIZE_AUTH
            INVALID_CARD_LOST_OR_STOLEN RESTRICTED_TRANSFER_ACCOUNT INVALID_CARD_NUMBER INVALID_UNREGISTERED_SUBMALL
            NOT_REGISTERED_BUSINESS EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT
            CARD_PROCESSING_ERROR EXCEED_MAX_AMOUNT INVALID_ACCOUNT_INFO_RE_REGISTER NOT_AVAILABLE_PAYMENT UNAPPROVED_ORDER_ID
            EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT INVALID_IDEMPOTENCY_KEY""",
        401: "UNAUTHORIZED_KEY",
        403: """REJECT_ACCOUNT_PAYMENT REJECT_CARD_PAYMENT REJECT_CARD_COMPANY FORBIDDEN_REQUEST REJECT_TOSSPAY_INVALID_ACCOUNT
            EXCEED_MAX_AUTH_COUNT EXCEED_MAX_ONE_DAY_AMOUNT NOT_AVAILABLE_BANK INVALID_PASSWORD INCORRECT_BASIC_AUTH_FORMAT
            FDS_ERROR""",
        404: "NOT_FOUND_PAYMENT NOT_FOUND_PAYMENT_SESSION",
        409: "IDEMPOTENT_REQUEST_PROCESSING",
        429: "TOO_MANY_REQUESTS",
        500: "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING FAILED_INTERNAL_SYSTEM_PROCESSING UNKNOWN_PAYMENT_ERROR",
    },
    "cancel": {
        400: """ALREADY_CANCELED_PAYMENT INVALID_REFUND_ACCOUNT_INFO EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT INVALID_REQUEST
            INVALID_REFUND_ACCOUNT_NUMBER INVALID_BANK NOT_MATCHES_REFUNDABLE_AMOUNT PROVIDER_ERROR REFUND_REJECTED
            ALREADY_REFUND_PAYMENT FORBIDDEN_BANK_REFUND_REQUEST INVALID_API_KEY INVALID_IDEMPOTENCY_KEY""",
        401: "UNAUTHORIZED_KEY",
        403: """NOT_CANCELABLE_AMOUNT FORBIDDEN_CONSECUTIVE_REQUEST FORBIDDEN_REQUEST NOT_CANCELABLE_PAYMENT EXCEED_MAX_REFUND_DUE
            NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT NOT_ALLOWED_PARTIAL_REFUND NOT_AVAILABLE_BANK INCORRECT_BASIC_AUTH_FORMAT
            NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER EXCEED_CANCEL_LIMIT""",
        404: "NOT_FOUND_PAYMENT",
        409: "IDEMPOTENT_REQUEST_PROCESSING",
        429: "TOO_MANY_REQUESTS",
        500: """FAILED_INTERNAL_SYSTEM_PROCESSING FAILED_REFUND_PROCESS FAILED_METHOD_HANDLING_CANCEL FAILED_PARTIAL_REFUND
            COMMON_ERROR FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING""",
    },
    "get": {
        400: "INVALID_REQUEST INVALID_API_KEY",
        401: "UNAUTHORIZED_KEY",
        403: "FORBIDDEN_REQUEST INCORRECT_BASIC_AUTH_FORMAT",
        404: "NOT_FOUND_PAYMENT",
        429: "TOO_MANY_REQUESTS",
        500: "FAILED_INTERNAL_SYSTEM_PROCESSING COMMON_ERROR",
    },
}
"""TOO_MANY_REQUESTS is the sandbox's own code: Toss documents the status 429 without one."""

STATUS_BY_CODE: Final[dict[Call, dict[str, int]]] = {
    call: {code: status for status, codes in by_status.items() for code in codes.split()}
    for call, by_status in _STATUSES.items()
}

_NOT_OF_THE_CARD: Final = frozenset(
    {
        "ALREADY_PROCESSED_PAYMENT",
        "BELOW_MINIMUM_AMOUNT",
        "FORBIDDEN_REQUEST",
        "INCORRECT_BASIC_AUTH_FORMAT",
        "INVALID_API_KEY",
        "INVALID_IDEMPOTENCY_KEY",
        "INVALID_REQUEST",
        "PROVIDER_ERROR",
    }
)
DECLINES: Final = frozenset(
    code for code, status in STATUS_BY_CODE["confirm"].items() if status in (400, 403) and code not in _NOT_OF_THE_CARD
)
"""The confirm errors that end the payment (ABORTED). After any other error the customer's session is still open."""

NOT_TAKEN_UP: Final = frozenset(
    {
        "IDEMPOTENT_REQUEST_PROCESSING",
        "INCORRECT_BASIC_AUTH_FORMAT",
        "INVALID_API_KEY",
        "INVALID_IDEMPOTENCY_KEY",
        "TOO_MANY_REQUESTS",
        "UNAUTHORIZED_KEY",
    }
)
"""Errors of requests that were not processed. They are not stored as the first answer under an idempotency key."""

_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "ALREADY_PROCESSED_PAYMENT": ("The payment has already been processed.", "이미 처리된 결제입니다."),
    "ALREADY_CANCELED_PAYMENT": ("The payment has already been canceled.", "이미 취소된 결제입니다."),
    "ALREADY_REFUND_PAYMENT": ("The payment has already been refunded.", "이미 환불된 결제입니다."),
    "BELOW_MINIMUM_AMOUNT": (
        "The amount is below the smallest that can be paid.",
        "결제 가능한 최소 금액보다 적습니다.",
    ),
    "CARD_PROCESSING_ERROR": ("The card company could not process the payment.", "카드사에서 오류가 발생했습니다."),
    "EXCEED_MAX_AMOUNT": ("The amount is above the limit.", "거래 금액 한도를 초과했습니다."),
    "EXCEED_MAX_PAYMENT_AMOUNT": ("Today's payment limit is used up.", "하루 결제 가능 금액을 초과했습니다."),
    "FORBIDDEN_CONSECUTIVE_REQUEST": (
        "Repeated requests are not allowed. Try again in a moment.",
        "반복적인 요청은 허용되지 않습니다. 잠시 후 다시 시도해주세요.",
    ),
    "FORBIDDEN_REQUEST": ("The request is not allowed.", "허용되지 않은 요청입니다."),
    "IDEMPOTENT_REQUEST_PROCESSING": ("An earlier request is still being processed.", "이전 멱등 요청이 처리중입니다."),
    "INCORRECT_BASIC_AUTH_FORMAT": (
        "The request cannot be read. Encode the key together with ':'.",
        "잘못된 요청입니다. ':' 를 포함해 인코딩해주세요.",
    ),
    "INVALID_API_KEY": ("The secret key is wrong.", "잘못된 시크릿키 연동 정보입니다."),
    "INVALID_CARD_EXPIRATION": ("The card has expired.", "카드 정보를 다시 확인해주세요. (유효기간)"),
    "INVALID_CARD_LOST_OR_STOLEN": ("The card is reported lost or stolen.", "분실 혹은 도난 카드입니다."),
    "INVALID_IDEMPOTENCY_KEY": ("The idempotency key is not valid.", "멱등키가 유효하지 않습니다."),
    "INVALID_REJECT_CARD": (
        "The card was refused. Ask the card company.",
        "카드 사용이 거절되었습니다. 카드사 문의가 필요합니다.",
    ),
    "INVALID_REQUEST": ("The request is wrong.", "잘못된 요청입니다."),
    "INVALID_STOPPED_CARD": ("The card has been stopped.", "정지된 카드입니다."),
    "NOT_CANCELABLE_AMOUNT": ("The amount cannot be canceled.", "취소할 수 없는 금액입니다."),
    "NOT_CANCELABLE_PAYMENT": ("The payment cannot be canceled.", "취소할 수 없는 결제입니다."),
    "NOT_FOUND_PAYMENT": ("There is no such payment.", "존재하지 않는 결제입니다."),
    "NOT_FOUND_PAYMENT_SESSION": (
        "The payment session has ended.",
        "결제 시간이 만료되어 결제 진행 데이터가 존재하지 않습니다.",
    ),
    "NOT_MATCHES_REFUNDABLE_AMOUNT": ("The refundable amount is another.", "잔액 결과가 일치하지 않습니다."),
    "PAY_PROCESS_CANCELED": ("The customer canceled the payment.", "사용자에 의해 결제가 취소되었습니다."),
    "PROVIDER_ERROR": (
        "A temporary error occurred. Try again in a moment.",
        "일시적인 오류가 발생했습니다. 잠시 후 다시 시도해주세요.",
    ),
    "REJECT_CARD_COMPANY": ("The card company refused the payment.", "결제 승인이 거절되었습니다."),
    "REJECT_CARD_PAYMENT": ("Over the limit, or not enough money.", "한도초과 혹은 잔액부족으로 결제에 실패했습니다."),
    "TOO_MANY_REQUESTS": ("Too many requests.", "요청이 너무 많습니다."),
    "UNAUTHORIZED_KEY": ("The key is not known.", "인증되지 않은 시크릿 키 혹은 클라이언트 키입니다."),
}


def message(code: str, korean: bool) -> str:
    """The text of an error code. A code without a text gets one made of its name."""
    english_text, korean_text = _MESSAGES.get(
        code, (f"{code.replace('_', ' ').capitalize()}.", f"오류가 발생했습니다. ({code})")
    )
    return korean_text if korean else english_text


def speaks_korean(accept_language: str) -> bool:
    """Whether the answer is Korean: Toss writes English only where `Accept-Language` names it first."""
    return not accept_language.strip().lower().startswith("en")
