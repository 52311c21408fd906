"""Clients of the Clumio REST API, written anew from how the vendor's SDKs and the public scripts over them behave.

Each function is something that a program of a user does. They are run against a real server with a real backup by
tests/tests/clumio_clients.rs, which says in PROBE, as JSON, what it has set up. Python's standard library is enough.
"""
import http.client, json, os, re, ssl, urllib.parse

PROBE = json.loads(os.environ["PROBE"])
TLS = ssl.create_default_context(cafile=PROBE["ca"])
LATEST = "application/api.clumio.*=v1+json"


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.text = response.read().decode()
        self.body = json.loads(self.text)
        # R7, R8: whatever layer made it, it is an object.
        assert isinstance(self.body, dict), self.text
        if self.status >= 400:
            assert self.headers["Content-Type"] == "application/json", self.headers
            errors = self.body["errors"]
            assert errors and all(type(e["error_code"]) is int and e["error_message"] for e in errors), self.text

    def ok(self, status=200):
        assert self.status == status, (self.status, self.text)
        return self.body


class Client:
    """One connection that is kept, as sessions of SDKs do."""

    def __init__(self, base="", accept=LATEST, content="application/json", token=PROBE["token"]):
        self.connection = http.client.HTTPSConnection("localhost", PROBE["port"], context=TLS, timeout=120)
        self.base = base
        self.headers = {
            "Authorization": f"Bearer {token}",
            # Every SDK sends it, empty.
            "x-clumio-organizationalunit-context": "",
            "x-clumio-api-client": "clumio-python-sdk",
            "x-clumio-sdk-version": "clumio-python-sdk:1.0.3",
        }
        if accept:
            self.headers["Accept"] = accept
        self.content = content

    def call(self, method, path, body=None, **headers):
        headers = {**self.headers, **headers}
        data = None
        if body is not None:
            data = body if isinstance(body, (bytes, str)) else json.dumps(body)
            if self.content:
                headers["Content-Type"] = self.content
        self.connection.request(method, self.base + path, data, headers)
        return Answer(self.connection.getresponse())

    def get(self, path, **query):
        return self.call("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))


EVER = {"created_timestamp": {"$gte": "2000-01-01T00:00:00Z"}}


def the_python_sdks_paginator():
    """It asks for a page, and for the value of `start` in `_next` until there is none (R4, R5)."""
    client, start, seen, pages = Client(), None, [], 0
    while True:
        query = {"limit": 1, "filter": json.dumps({**EVER, "category": "backup", "status": {"$in": ["completed"]}})}
        if start is not None:
            query["start"] = start
        page = client.get("/tasks", **query).ok()
        pages += 1
        assert page["_links"], page
        assert type(page["total_count"]) is int and type(page["limit"]) is int and type(page["start"]) is str, page
        seen += [item["id"] for item in page["_embedded"]["items"]]
        following = page["_links"].get("_next", "none")
        if following == "none":
            break
        start = re.search(r"start=([^&]+)", following["href"]).group(1)
        assert re.fullmatch(r"[A-Za-z0-9_-]+", start), start
    assert pages == page["total_pages_count"] == len(seen) == len(set(seen)) == page["total_count"] >= 2, page


def the_go_sdk():
    """It concatenates, sends every parameter even if empty, and calls its JSON plain text (R1, R3, R9)."""
    client = Client(base="/", content="text/plain; charset=utf-8")
    page = client.call("GET", "/tasks?filter=&limit=0&start=").ok()
    assert page["limit"] == 100 and page["start"] == "1", page
    for task in page["_embedded"]["items"]:
        assert type(task["progress_percentage"]) is int and task["status"], task
        if task["status"] != "completed":
            continue
        one = client.call("GET", f"/tasks/{task['id']}").ok()
        assert one["id"] == task["id"]
        refused = client.call("PATCH", f"/tasks/{task['id']}", {"status": "aborting"})
        assert refused.status == 412 and refused.body["errors"][0]["error_code"] == 4120, refused.text


def a_script_over_an_old_sdk():
    """A base URL that ends in a slash, paths below /api, a filter that says null, spaces as plus (R2, R3)."""
    client = Client(base="/api/", accept="application/tasks=v1+json")
    page = client.call("GET", "/tasks?filter=null").ok()
    assert page["total_count"] >= 2, page
    name = page["_embedded"]["items"][0]["primary_entity"]["value"]
    found = client.get("/tasks", filter=json.dumps({"primary_entity.value": {"$contains": name}})).ok()
    assert found["total_count"] >= 1 and json.loads(found["filter_applied"])["primary_entity.value"], found
    other = client.get("/tasks", filter=json.dumps({"primary_entity.value": {"$contains": "no such name"}})).ok()
    assert other["total_count"] == 0 and other["_embedded"]["items"] == [], other


def a_client_written_by_hand():
    """It names another resource in Accept, or none, and takes all but `queued` and `in_progress` as the end (R14)."""
    for accept in [None, "*/*", "application/json", "application/api.clumio.aws-ebs-volumes=v1+json"]:
        page = Client(accept=accept).get("/tasks").ok()
        assert page["_embedded"]["items"]
    refused = Client(accept="application/api.clumio.tasks=v9+json").get("/tasks")
    assert refused.status == 400 and refused.body["errors"][0]["error_code"] == 4004, refused.text


def a_task_is_waited_for():
    """A backup is running: it is polled, held on to, aborted, and ends."""
    client, task = Client(), f"/tasks/{PROBE['running']}"
    shown = client.get(task).ok()
    assert shown["status"] in ("queued", "in_progress") and shown["is_abortable"], shown
    assert shown["_links"]["update-task"]["type"] == "patch", shown
    aborting = client.call("PATCH", task, {"status": "aborting"}).ok()
    assert aborting["status"] in ("aborting", "aborted"), aborting
    for _ in range(60):
        ended = client.get(task, wait=60).ok()
        if ended["status"] not in ("queued", "in_progress", "aborting"):
            break
    assert ended["status"] == "aborted" and ended["failed_reason"], ended
    assert client.call("PATCH", task, {"status": "aborting"}).status == 412


def errors_of_every_layer():
    """The SDK parses every error to build its exception."""
    client = Client()
    assert client.get("/connections/aws").status == 404
    assert client.get("/tasks/0").status == 404
    assert client.call("DELETE", "/tasks").status == 405
    assert client.get("/tasks", filter='{"id": "a"b"}').status == 400
    assert client.call("PATCH", "/tasks/1").status == 400
    assert client.call("PATCH", "/tasks/1", b" " * (1 << 20) + b"{}").status == 413
    client = Client()
    assert client.get("/tasks", x="y" * (17 << 10)).status == 414
    assert client.call("GET", "/tasks", **{"x-large": "y" * (33 << 10)}).status == 431
    assert Client(token="unknown").get("/").status == 401
    context = {"x-clumio-organizationalunit-context": "0197c0de-dead-7000-8000-00000000beef"}
    assert client.call("GET", "/tasks", **context).status == 403


def discovery():
    told = Client(base="/clumio").get("/").ok()
    assert told["tasks"]["v1"]["read-task"] == {"href": "/tasks/{task_id}", "type": "get", "templated": True}, told


CLIENTS = [
    a_task_is_waited_for,
    the_python_sdks_paginator,
    the_go_sdk,
    a_script_over_an_old_sdk,
    a_client_written_by_hand,
    errors_of_every_layer,
    discovery,
]
for client in CLIENTS:
    client()
    print(f"{client.__name__}: ok")
