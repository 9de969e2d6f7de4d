"""Pages for people: the shop, and the operators' console. Server-rendered, a little script, English and Korean.

This process imports no service. It reaches the services over HTTP (`services.py`) and listens to Kafka (`live.py`). A service that does not
answer costs its part of a page: the page says so in a sentence and shows the rest.

The skeleton, which knows neither shop nor console:

- `app.py` makes the ASGI application from the parts below and from the routes of each application (`shop/routes.py`).
- `visit.py`: `Visit`, what one request knows of its visitor: language, signed-in user, cart, CSRF token, notices. `Visit.t(key)` is a text.
- `desk.py`: `Desk`, the face for routes. `visit(request)` begins each route, `form(request, visit)` reads a form and checks who sent it,
  `page(visit, template, values)` and `go(visit, path)` end the route; both write the cookies that have changed.
- `error_pages.py` answers each error of a route with a page that says what happened.
- `services.py`: `Services`, typed reads and commands with bounded times. Raises `Unavailable` or `Refused`. `unless_away` turns the first into None.
- `texts/en.toml` and `texts/ko.toml`: every text, by the same keys. Templates hold none.
- `provider.py` speaks OpenID Connect with the identity provider, `provider_routes.py` leads people there and back, `failures.py` counts failed sign-ins.
- `signing.py` signs cookies; `accounts.py` has the customers of the demo and the credentials that services check.
- `pictures.py` draws products as SVG. `static/` and `templates/` are our own files; nothing is loaded from another host.
- `shop/live.py`: open streams of orders, fed by Kafka. A stream of the console can be built the same way.

The console (`console/`) is below `/console` of the same process. Its users are `visit.session.operator`, so somebody can be a customer of the
shop and an operator in one browser. The services check an operator's roles again.

To add an application beside the two: a package with `routes(desk, ...)`, templates in a folder of its own, texts under a table of its own in
both catalogues, and its routes in `app.py`.

May import `http` (server, limits), `messaging.kafka` (to listen), `settings` and `contracts`. Start with `shop/routes.py` or
`console/routes.py`.
"""
