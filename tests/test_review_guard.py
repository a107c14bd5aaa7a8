"""The door of the review app: every route, as the app itself lists them, against those who should not come in."""

from html.parser import HTMLParser
from itertools import product

import pytest
from conftest import draw_animal, photo, save
from fastapi.routing import APIRoute
from reviewing import BASE, App
from starlette.testclient import TestClient

from reid.errors import SettingsError
from reid.review import serve
from reid.review.guard import PUBLIC, Door
from reid.review.tasks import opaque

HOSTS = (
    "evil.example", "evil.example:8420", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8420.evil.example", "localhost.evil.example:8420", "",
    "0.0.0.0:8420", "[::]:8420", "127.0.0.2:8420", "user@127.0.0.1:8420", "127.0.0.1:8420/",
)  # fmt: skip
ORIGINS = (
    "https://evil.example",
    "null",
    "http://127.0.0.1:8421",
    "https://127.0.0.1:8420",
    "http://localhost.evil.example:8420",
    "file://",
)
PAYLOADS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "\"><script>alert(1)</script>", "' onmouseover='alert(1)", "<svg onload=alert(1)>",
    "javascript:alert(1)", "{{7*7}}", "{% raw %}", "${7*7}",
    "</title><script>alert(1)</script>", "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=\"javascript:alert(1)\">x</a>", "&lt;script&gt;", "<!--<script>", "\u202e<b>txt</b>",
)  # fmt: skip
TRAVERSALS = (
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%252f..%252fetc%252fpasswd", "....//....//etc/passwd",
    "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd",
    "..\\..\\windows\\win.ini", "C:%5cwindows%5cwin.ini", "app.css%00.jpg", "%00",
    "../guard.py", "..%2fguard.py", "templates/../../guard.py", "~root", "file:///etc/passwd", "./app.css/..%2f..%2fguard.py",
    "metadata.csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    for identity in range(5):
        save(folder / "gallery" / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    save(folder / "photos" / "known.png", draw_animal(3, 5))
    return App(folder / "gallery", folder / "photos")


def routes(app: App) -> list[tuple[str, str]]:
    """(method, address) of every route, its parts filled with what exists; a part that is not known here fails."""
    task, book = app.task("known.png"), app.desk.book()
    left, right = (book.of_photo[item.digest].id for item in (task.photos[0], task.choices[0].reference))
    parts = {
        "task": task.id, "left": left, "right": right, "photo": left, "size": "small", "name": "app.js",
        "animal": opaque("animal", "animal-3"), "one": opaque("animal", "animal-3"),
        "encounter": opaque("encounter", next(iter(book.encounters))), "number": "1",
    }  # fmt: skip
    found = []
    for route in app.guard.app.routes:
        assert isinstance(route, APIRoute), route
        found += [(method, route.path.format(**parts)) for method in sorted(route.methods)]
    assert len(found) > 15
    return found


def test_without_a_token_no_route_answers(app):
    for method, path in routes(app):
        answer = app.another().request(method, path)
        assert (answer.status_code == 401) == (path not in PUBLIC or method == "POST"), (method, path, answer.status_code)
        assert "known.png" not in answer.text and "animal-3" not in answer.text
    for cookie in ("", "x", app.door.csrf, "é"):
        answer = app.another().get("/catalogue", headers={"Cookie": f"{app.door.cookie}={cookie}".encode()})
        assert answer.status_code == 401


def test_what_is_public_tells_nothing_and_exists(app):
    assert {path for path in PUBLIC if app.another().get(path).status_code == 200} == PUBLIC


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused_everywhere(app, host):
    for method, path in routes(app):
        assert app.browser.request(method, path, headers={"Host": host}).status_code == 403, (method, path)


def test_two_hosts_are_refused(app):
    with TestClient(app.guard, BASE) as client:
        client.headers.clear()
        assert client.get("/open", headers=[("Host", "127.0.0.1:8420"), ("Host", "evil.example")]).status_code == 403


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_origin_is_refused_everywhere(app, origin):
    for method, path in routes(app):
        assert app.browser.request(method, path, headers={"Origin": origin}).status_code == 403, (method, path)


def test_what_changes_anything_needs_its_own_origin_and_the_second_token(app):
    own = {"Cookie": f"{app.door.cookie}={app.browser.cookies[app.door.cookie]}"}
    for method, path in routes(app):
        if method == "POST":
            bare = TestClient(app.guard, BASE, headers=own)
            assert bare.post(path, headers={"X-CSRF": app.door.csrf}).status_code == 403, path  # no origin
            if path not in PUBLIC:
                assert bare.post(path, headers={"Origin": BASE}).status_code == 403, path
                assert bare.post(path, headers={"Origin": BASE, "X-CSRF": "x" * 64}).status_code == 403, path
        elif path not in PUBLIC:
            for site in ("cross-site", "same-site"):
                assert app.browser.get(path, headers={"Sec-Fetch-Site": site}).status_code == 403, path


def test_asking_changes_nothing(app):
    before = {path: path.stat().st_mtime_ns for path in app.session.root.rglob("*") if ".reid" not in path.parts}
    for method, path in routes(app):
        if method == "GET":
            assert app.browser.get(path).status_code in (200, 204, 303), path
            assert app.browser.head(path).status_code == 405, path
    assert before == {path: path.stat().st_mtime_ns for path in app.session.root.rglob("*") if ".reid" not in path.parts}
    assert not app.desk.log.path.exists()


def test_every_answer_has_the_policy_and_none_opens_to_other_origins(app):
    for method, path in [*routes(app), ("GET", "/nowhere")]:
        answer = app.browser.request(method, path, data={} if method == "POST" else None)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'", path
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_code_works_once_and_the_cookie_is_closed_to_scripts_and_other_sites(app):
    told = []
    app.door.used = lambda: told.append(app.door.link())
    link = app.door.link()
    assert link.startswith(f"{BASE}/open#") and len(link.split("#")[1]) == 32
    first, second = app.another(), app.another()
    answer = first.post("/open", data={"code": link.split("#")[1]})
    assert answer.status_code == 204 and {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(answer.headers["Set-Cookie"].split("; "))
    assert second.post("/open", data={"code": link.split("#")[1]}).status_code == 401 and not second.cookies
    assert second.post("/open", data={"code": ""}).status_code == 401
    assert second.post("/open", data={"code": told[0].split("#")[1]}).status_code == 204
    secure = Door("127.0.0.1", 8420, secure=True)
    assert "Secure" in str(secure.exchange(secure.link().split("#")[1])).split("; ")


def test_a_long_body_is_refused(app):
    assert app.browser.post("/answers", content=b"x" * 1_100_000).status_code == 413
    every = "+".join(["0123456789abcdef"] * 10_000)
    assert app.browser.post("/sides/estimated?show=unsided", content=f"photos={every}").status_code == 303


def test_an_address_that_is_none_is_no_page(app):
    """htmx sends the page's address; what anybody else sends is not to be read."""
    header = {"HX-Current-URL": "http://[::1"}
    assert app.browser.get("/catalogue", headers=header).status_code == 200
    photo = next(iter(app.desk.book().cards))
    assert app.browser.post("/sides", data={"photos": photo, "side": "left"}, headers=header).status_code == 200


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(app, path):
    for pattern in ("/static/{}", "/photos/{}/small", "/photos/{}", "/animals/{}", "/encounters/{}", "/review/{}", "/marks/{}/{}", "/{}"):
        answer = app.browser.get(pattern.format(path, path))
        assert answer.status_code in (303, 307, 400, 404, 405), (pattern, answer.status_code)
        assert "root:" not in answer.text and "Door" not in answer.text and "path,identity" not in answer.text


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_nothing_from_outside_becomes_markup(tmp_path):
    rows = ["path,identity,site,encounter,orientation,date"]
    for number, payload in enumerate(PAYLOADS):
        save(tmp_path / f"{number}.png", draw_animal(number, 0))
        quoted = '"' + payload.replace('"', '""') + '"'
        rows.append(f"{number}.png,{quoted},{quoted},{quoted},{quoted},2024-01-{number + 1:02}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows), "utf-8")
    queries = [save(tmp_path / "new" / f"{payload.replace('/', '')}.png", draw_animal(40 + n, 0)) for n, payload in enumerate(PAYLOADS)]
    app = App(tmp_path, *queries, observer=PAYLOADS[0])
    asked = []  # about names that are nearly those of others
    for number, (task, name) in enumerate(zip(list(app.desk.tasks()), PAYLOADS)):
        asked += [app.answer(task, "new", name=f"{name}!")]
        assert app.answer(task, "new", name=f"{name} {number}").status_code == 200
        asked += [app.browser.post(f"/animals/{opaque('animal', f'{name} {number}')}/name", data={"name": f"{name}!"})]
    assert sum(answer.status_code == 409 for answer in asked) > len(PAYLOADS)
    book = app.desk.book()
    pages = ["/catalogue", "/catalogue/more?start=1", "/history", "/health", "/agreement", "/progress", "/review"]
    pages += [
        f"/{kind}s/{opaque(kind, name)}" for kind, names in (("animal", book.animals), ("encounter", book.encounters)) for name in names
    ]
    pages += [f"/animals/{opaque('animal', name)}/brief" for name in book.animals]
    pages += [f"/review/{task.id}" for task in app.desk.tasks()]
    pages += [f"/catalogue?animal={payload}&site={payload}&side={payload}&since={payload}" for payload in PAYLOADS]
    seen = ""
    for path, whole in (*product(pages, (True, False)), *((answer, False) for answer in asked)):
        answer = path
        if isinstance(path, str):
            answer = app.browser.get(path, headers={} if not whole else {"HX-Request": "true", "HX-History-Restore-Request": "true"})
            assert answer.status_code == 200, path
        tags = Tags(answer.text)
        for tag, attrs in tags.found:
            assert tag not in ("iframe", "b", "object", "embed", "base") and not [name for name in attrs if name.startswith("on")], (
                path,
                tag,
            )
            assert tag != "script" or attrs.get("src", "").startswith("/static/"), path
            assert "style" not in attrs, (path, tag)
            for name in ("href", "src", "hx-get", "hx-post", "action"):
                assert attrs.get(name, "/").startswith(("/", "#main")), (path, tag, attrs)
        seen += " ".join(tags.words)
    for payload in PAYLOADS:
        assert payload in seen, payload  # shown as it is


def test_a_network_needs_encryption_or_an_admission(tmp_path):
    pem = photo(tmp_path / "pem.png")
    serve.check_host("127.0.0.1", None, None, False)
    serve.check_host("192.0.2.1", pem, pem, False)
    serve.check_host("192.0.2.1", None, None, True)
    for host, cert, key, without in (
        ("192.0.2.1", None, None, False), ("0.0.0.0", pem, pem, False), ("::", None, None, True), ("192.0.2.1", pem, None, False),
        ("192.0.2.1", pem, tmp_path / "none", False),
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            serve.check_host(host, cert, key, without)
    assert "127.0.0.1:8420" not in Door("192.0.2.1", 8420).hosts and Door("192.0.2.1", 8420, secure=True).origins == {
        "https://192.0.2.1:8420"
    }


def test_the_link_is_handed_over_in_a_file_that_only_the_user_reads(tmp_path):
    file = serve._redirect(tmp_path, f"{BASE}/open#code")
    assert file.stat().st_mode & 0o777 == 0o600 and "url=http://127.0.0.1:8420/open#code" in file.read_text()
