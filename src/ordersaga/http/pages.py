"""The size of a page, the same for every list over HTTP."""

from typing import Annotated, Final

from litestar.params import QueryParameter

PAGE_ROWS_DEFAULT: Final = 50
PAGE_ROWS_MAX: Final = 200

PageRows = Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)]
