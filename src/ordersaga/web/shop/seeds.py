"""The small catalogue that `ordersaga up` puts on an empty shelf, so that a new shop has something to sell."""

from typing import Any, Final
from uuid import UUID, uuid5

import aiohttp
from msgspec import Struct

NAMESPACE: Final = UUID("5a0f6a3e-5c1e-4f0e-9a53-2f3d8a0c7b11")
OPERATOR: Final = {"User-Id": "00000000-0000-4000-8000-0000000000f0", "User-Roles": "MASTER"}
TIMEOUT_S: Final = 10.0


class Seed(Struct, frozen=True):
    """One product: both names and both descriptions, won, pieces, and a drawing of `web/pictures.py`."""

    drawing: str
    category: str
    name: str
    description: str
    price: int
    quantity: int

    @property
    def product_id(self) -> UUID:
        """The same at every start, so a shop that is started again has no product twice."""
        return uuid5(NAMESPACE, self.drawing)

    @property
    def body(self) -> dict[str, Any]:
        """The body of `POST /api/v1/products`."""
        return {
            "productId": str(self.product_id),
            "name": self.name,
            "price": self.price,
            "quantity": self.quantity,
            "description": self.description,
            "category": self.category,
            "picture": f"/pictures/{self.drawing}.svg",
        }


SEEDS: Final = (
    Seed(
        "teapot",
        "kitchen",
        "Stoneware teapot / 도기 찻주전자",
        "Holds three cups, and the warmth. / 세 잔이 들어가고 온기가 오래갑니다.",
        48_000,
        40,
    ),
    Seed(
        "cup",
        "kitchen",
        "Morning cup / 아침 머그잔",
        "Thick walls and a handle for the whole hand. / 두툼하고 손잡이가 넉넉합니다.",
        16_500,
        120,
    ),
    Seed(
        "board",
        "kitchen",
        "Oak board / 참나무 도마",
        "Oiled oak with a hole to hang it by. / 오일로 마감했고 걸어 둘 수 있습니다.",
        29_000,
        3,
    ),
    Seed(
        "notebook",
        "desk",
        "Dotted notebook / 도트 노트",
        "160 pages that lie flat. / 180도로 펼쳐지는 160쪽.",
        9_800,
        200,
    ),
    Seed(
        "pen",
        "desk",
        "Brass pen / 황동 펜",
        "Heavier than you think, and better with age. / 묵직하고 오래 쓸수록 멋집니다.",
        34_000,
        60,
    ),
    Seed(
        "clips",
        "desk",
        "Clip tray / 클립 트레이",
        "A place for small things, with forty clips. / 작은 물건의 자리. 클립 40개 포함.",
        12_000,
        0,
    ),
    Seed(
        "lamp",
        "home",
        "Reading lamp / 독서등",
        "Warm light, just where you look. / 보는 곳만 따뜻하게 비춥니다.",
        79_000,
        25,
    ),
    Seed(
        "plant",
        "home",
        "Quiet plant / 조용한 화분",
        "Asks for water every second week. / 2주에 한 번만 물을 주면 됩니다.",
        24_000,
        30,
    ),
    Seed(
        "cushion",
        "home",
        "Linen cushion / 리넨 쿠션",
        "Washed linen, filled with wool. / 워싱 리넨에 양모를 채웠습니다.",
        38_000,
        45,
    ),
    Seed(
        "bag",
        "carry",
        "Canvas bag / 캔버스 가방",
        "Carries groceries, books and a small dog. / 장거리도 책도 작은 강아지도.",
        27_000,
        80,
    ),
    Seed(
        "bottle",
        "carry",
        "Steel bottle / 스틸 물병",
        "Cold for a day, hot for half of one. / 하루는 차갑게, 반나절은 뜨겁게.",
        32_000,
        70,
    ),
    Seed(
        "keyboard",
        "desk",
        "Soft keyboard / 조용한 키보드",
        "All the keys, none of the noise. / 키는 다 있고 소음은 없습니다.",
        89_000,
        50,
    ),
)


async def seed(stock_url: str) -> int:
    """Add the products that are missing; returns how many were. Raises `aiohttp.ClientError` if Stock does not answer."""
    added = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
        for each in SEEDS:
            async with http.post(f"{stock_url}/api/v1/products", json=each.body, headers=OPERATOR) as answer:
                added += answer.status == 201
    return added
