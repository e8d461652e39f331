"""An explorer on this machine: everything can be read there, by whoever was told the address, and nothing else."""

import http.client
import json
import threading

import pytest

from thresher.errors import InputError
from thresher.studies.explorer.serving import MOST_ROWS, Server, rows_with


@pytest.fixture(scope="module")
def server(text):
    with Server(text) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def ask(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_address[1]}"})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_documents_and_searches_are_answered(server, text):
    status, body, headers = ask(server, f"/{server.secret}/documents?of=&rows=3,1")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert ["".join(one) for one in json.loads(body)] == text.pool.texts([3, 1])
    _, body, _ = ask(server, f"/{server.secret}/documents?of=%3D%3Ci%3Ecooks&rows=0")
    assert json.loads(body)[0][1].startswith("boil the rice 0")
    _, body, _ = ask(server, f"/{server.secret}/search?text=BEGINS")
    assert json.loads(body) == list(rows_with(text.pool, "begins")) == list(range(90))


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/x/", "/{}", "/{}/x", "/{}/documents/x", "/%2e%2e/etc/passwd", "/{}/../.."],
)
def test_nothing_else_is_found(server, path):
    assert ask(server, path.format(server.secret))[0] == 404


@pytest.mark.parametrize("query", ["", "rows=", "rows=x", "rows=90", "rows=-1", "rows=1&of=other"])
def test_rows_that_are_not_there_are_a_bad_request(server, query):
    assert ask(server, f"/{server.secret}/documents?{query}")[0] == 400
    many = ",".join(["1"] * (MOST_ROWS + 1))
    assert ask(server, f"/{server.secret}/documents?rows={many}")[0] == 400


def test_another_host_name_and_other_methods_are_refused(server):
    path = f"/{server.secret}/documents?rows=1"
    assert ask(server, path, host="evil.example")[0] == 403
    assert ask(server, path, host=f"localhost:{server.server_address[1]}")[0] == 200
    assert ask(server, path, method="POST")[0] == 501
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_refused_in_one_line(server, text):
    with pytest.raises(InputError, match=r"port \d+ cannot be used .*; give another"):
        Server(text, server.server_address[1])


def test_a_served_page_reads_documents_as_it_shows_them(open_page, server, text, width):
    page = open_page(server.url)
    order = (-text.table.by_target["<i>cooks"]).argsort(kind="stable")
    first = page.locator(".helpful .card .text").first
    first.wait_for()
    assert first.text_content()[:9] == text.pool.texts(order[:1])[0][:9]
    page.click('[aria-label="The next example"]')
    page.locator("#subject mark").wait_for()
    assert page.locator("#subject mark").inner_text().startswith("boil the rice 0")
    page.get_by_role("button", name="Average").click()
    page.click('.sides [data-side="both"]')
    page.fill("#search", "7  begins")
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text("9 examples of 90")
    page.locator(".card .do-one").first.click()
    page.locator(".card mark").first.wait_for()
