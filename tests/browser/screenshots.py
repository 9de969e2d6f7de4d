"""`make screenshots`: pictures of the pages for the documents, taken from the real system, in both languages, light and dark.

Small WebP files, since they are committed. Times and order numbers in them differ from run to run.
"""

import asyncio
import base64
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from ordersaga.devstack.system import System
from ordersaga.web.shop import seeds
from tests.browser.conftest import BROWSERS, NO_SANDBOX
from tests.browser.troubles import letter_of, spoil
from tests.browser.visitor import PAY, Visitor

FOLDER = Path("docs/screenshots")
QUALITY = 82
WIDE, TALL, PHONE = (1280, 860), (1280, 1240), (390, 844)


class Camera:
    """Makes visitors whose windows have a size and a scheme of colours, and takes pictures of them."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url

    @contextmanager
    def visitor(self, language: str, size: tuple[int, int], scheme: str) -> Iterator[Visitor]:
        width, height = size
        context = self._browser.new_context(
            locale=language,
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="Asia/Seoul",
            reduced_motion="reduce",
            device_scale_factor=2 if size == PHONE else 1,
        )
        yield Visitor(context, self._url)
        context.close()

    def take(self, one: Visitor, name: str) -> None:
        one.page.screenshot()  # waits until the page stands still; Playwright itself writes no WebP
        session = one.context.new_cdp_session(one.page)
        shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        path = FOLDER / f"{name}.webp"
        path.write_bytes(base64.b64decode(shot["data"]))
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


def take_all(camera: Camera) -> None:
    """Every picture."""
    with camera.visitor("en-US", WIDE, "light") as one:
        one.open()
        camera.take(one, "shop")
        one.sign_in()
        for product in ("Stoneware teapot", "Morning cup"):
            one.put_in_cart(product)
            expect(one.page.get_by_role("heading", name="Your cart")).to_be_visible()
        camera.take(one, "cart")
        one.follow("Go to checkout")
        one.fill_address()
        camera.take(one, "checkout")
        one.press("Place order")
        one.sees("Ready for your payment")
        one.open(one.page.url.removeprefix(one.url))
        camera.take(one, "order")
        one.press(PAY)
        expect(one.page.get_by_role("heading", name="Checkout")).to_be_visible()
        camera.take(one, "gateway")
        one.press(PAY)
        one.sees("Your parcel is on its way")
        camera.take(one, "order-completed")
    with camera.visitor("ko-KR", PHONE, "dark") as one:
        one.open("/sign-in")
        one.press("이민준")
        one.open()
        camera.take(one, "shop-phone-ko")
        one.page.locator(".card a").nth(3).click()
        one.page.locator(".add button").click()
        one.open("/checkout")
        one.fill_address(name="이민준", address="서울 중구 세종대로 1", zipcode="63000", memo="문 앞에 두세요")
        one.page.locator("form.checkout button").click()
        one.sees("결제를 기다립니다")
        one.pay()
        one.sees("카드로 환불했습니다")
        camera.take(one, "order-refunded-phone-ko")


def take_console(camera: Camera, system: System) -> None:
    """The pictures of the console, while something is wrong."""
    order_ids = spoil(system, 5)
    with camera.visitor("en-US", TALL, "light") as one:
        one.open("/console")
        one.page.locator("button[name=role][value=operator]").click()
        expect(one.page.locator("#verdict")).to_contain_text("dead letters")
        expect(one.page.locator("#flow")).not_to_contain_text("not known")
        camera.take(one, "console")
        one.open(f"/console/letters/delivery/{letter_of(system, order_ids[0])}")
        camera.take(one, "console-letter")
        one.open("/console/orders?status=COMPLETED")
        one.page.locator("tbody a[href^='/console/orders/']").first.click()
        expect(one.page.locator(".story")).to_be_visible()
        camera.take(one, "console-order")
    with camera.visitor("ko-KR", PHONE, "dark") as one:
        one.open("/console")
        one.page.locator("button[name=role][value=reader]").click()
        expect(one.page.locator("#verdict")).to_be_visible()
        camera.take(one, "console-phone-ko")


def main() -> None:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit("no Chromium here: install the system's package chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with System(web=True) as system:
        asyncio.run(seeds.seed(system.urls["stock"]))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=NO_SANDBOX)
            take_all(Camera(browser, system.urls["web"]))
            take_console(Camera(browser, system.urls["web"]), system)
            browser.close()


if __name__ == "__main__":
    main()
