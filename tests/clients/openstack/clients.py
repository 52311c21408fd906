"""Clients of OpenStack's Image API and Keystone: the vendor's own programs and packages as they are published.

Each function is something that somebody does with them. They are run against a real server by
tests/tests/openstack_clients.rs, which says in PROBE, as JSON, what it has set up.
"""
import hashlib, http.server, json, os, pathlib, subprocess, sys, threading, time

import keystoneauth1.exceptions as refusals
import openstack
from glanceclient import Client as Glance, exc
from keystoneauth1 import session as sessions
from keystoneauth1.identity import v3

PROBE = json.loads(os.environ["PROBE"])
AUTH, PROJECT = PROBE["auth_url"], PROBE["project"]
USER, PASSWORD = PROBE["user"], PROBE["password"]
BIN = pathlib.Path(sys.executable).parent
STATUSES = ["failure", "pending", "processing", "success"]


def by_password(**more):
    scope = {"project_id": PROJECT} if not more else more
    return v3.Password(AUTH, username=USER, user_domain_id="default", password=PASSWORD, **scope)


def environment(**more):
    """What a person has in the environment; nothing else of this one."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("OS_") and name != "PROBE"}
    own = {"OS_AUTH_URL": AUTH, "OS_IDENTITY_API_VERSION": "3", "OS_REGION_NAME": "RegionOne"}
    return {**keep, **own, **more}


PERSON = {
    "OS_USERNAME": USER, "OS_PASSWORD": PASSWORD, "OS_PROJECT_ID": PROJECT,
    "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default",
}
PROGRAM = {
    "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_APPLICATION_CREDENTIAL_ID": PROBE["client"]["id"],
    "OS_APPLICATION_CREDENTIAL_SECRET": PROBE["client"]["secret"],
}


def run(program, *args, env=PERSON, fails=False):
    done = subprocess.run([BIN / program, *args], env=environment(**env), capture_output=True, text=True, timeout=300)
    assert (done.returncode != 0) == fails, (program, args, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr if fails else done.stdout


def glance(auth=None):
    return Glance("2", session=sessions.Session(auth=auth or by_password()), service_type="image")


def sdk(auth=None):
    return openstack.connection.Connection(session=sessions.Session(auth=auth or by_password()), region_name="RegionOne")


def signs_in_each_way():
    own = sessions.Session(auth=by_password())
    assert own.get_project_id() == PROJECT and own.get_endpoint(service_type="image").endswith("/image")
    token = own.get_token()
    names = dict(project_name=PROBE["project_name"], project_domain_id="default")
    program = PROBE["client"]
    for auth in [
        by_password(**names),
        v3.Password(AUTH, user_id=own.get_user_id(), password=PASSWORD, project_id=PROJECT),
        v3.Token(AUTH, token=token, project_id=PROJECT),
        v3.Token(AUTH, token=PROBE["api_token"]),
        v3.ApplicationCredential(AUTH, application_credential_id=program["id"],
                                 application_credential_secret=program["secret"]),
        v3.ApplicationCredential(AUTH, application_credential_name=program["name"], username=USER,
                                 user_domain_name="Default", application_credential_secret=program["secret"]),
    ]:
        session = sessions.Session(auth=auth)
        assert session.get_project_id() == PROJECT, auth
        found = next(iter(glance(auth).tasks.list(page_size=1)))
        assert found["status"] in STATUSES, found
    issued = json.loads(run("openstack", "token", "issue", "-f", "json"))
    assert issued["project_id"] == PROJECT, issued
    issued = json.loads(run("openstack", "token", "issue", "-f", "json", env=PROGRAM))
    assert issued["project_id"] == PROJECT, issued
    catalog = json.loads(run("openstack", "catalog", "list", "-f", "json"))
    assert sorted(service["Type"] for service in catalog) == ["identity", "image"], catalog


def finds_its_way_from_the_address_alone():
    root = AUTH.split("/identity")[0]
    for url in [root, f"{root}/", f"{root}/v3", f"{root}/identity"]:
        issued = json.loads(run("openstack", "token", "issue", "-f", "json", env={**PERSON, "OS_AUTH_URL": url}))
        assert issued["project_id"] == PROJECT, (url, issued)
    # What cannot work ends.
    for url in [f"{root}/v2", f"{root}/v2.0", f"{root}/nothing"]:
        run("openstack", "token", "issue", env={**PERSON, "OS_AUTH_URL": url}, fails=True)


def looks_names_up():
    shown = json.loads(run("openstack", "user", "show", USER, "-f", "json"))
    assert (shown["name"], shown["default_project_id"]) == (USER, PROJECT), shown
    assert USER in [user["Name"] for user in json.loads(run("openstack", "user", "list", "-f", "json"))]
    own = json.loads(run("openstack", "project", "list", "--my-projects", "-f", "json"))
    assert PROJECT in [project["ID"] for project in own], own
    told = run("openstack", "application", "credential", "list", fails=True)
    assert "backstay client create" in told, told


def is_refused_without_a_reason():
    for auth in [
        v3.Password(AUTH, username=USER, user_domain_id="default", password="wrong", project_id=PROJECT),
        v3.Password(AUTH, username="nobody", user_domain_id="default", password=PASSWORD, project_id=PROJECT),
        by_password(project_id="f" * 32),
        v3.Token(AUTH, token="unknown"),
    ]:
        try:
            sessions.Session(auth=auth).get_token()
        except refusals.http.Unauthorized as refusal:
            assert "requires authentication" in str(refusal), refusal
        else:
            raise AssertionError(auth)


def revokes_a_token():
    session = sessions.Session(auth=by_password())
    token = session.get_token()
    run("openstack", "token", "revoke", token)
    try:
        sessions.Session(auth=v3.Token(AUTH, token=token)).get_token()
    except refusals.http.Unauthorized:
        return
    raise AssertionError("it is still let in")


def pages_through_all_tasks():
    total = PROBE["tasks"]
    client = glance()
    found = list(client.tasks.list(page_size=100))
    assert len({task["id"] for task in found}) == len(found) == total, len(found)
    assert [t["created_at"] for t in found] == sorted((t["created_at"] for t in found), reverse=True)
    assert len(list(client.tasks.list(page_size=1000))) == total
    of_sdk = [task.id for task in sdk().image.tasks(limit=500)]
    assert of_sdk == [task["id"] for task in found]
    # The command line, with its order by status.
    rows = run("glance", "task-list").splitlines()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows if row.startswith("|")][1:]
    assert len(rows) == total, len(rows)
    statuses = [row[2] for row in rows]
    assert statuses == sorted(statuses, reverse=True), set(statuses)
    # To this client, a limit is that of a page: it goes on to the end.
    rows = json.loads(run("openstack", "image", "task", "list", "--limit", "500", "-f", "json"))
    assert [row["ID"] for row in rows] == [task["id"] for task in found], rows


# What the SDK calls some members.
NAMES = {"owner": "owner_id"}


def orders_and_filters():
    client, image = glance(), sdk().image
    total = PROBE["tasks"]
    for key in ["id", "type", "status"]:
        found = list(client.tasks.list(sort_key=key, sort_dir="asc", page_size=500))
        assert [task[key] for task in found] == sorted(task[key] for task in found), key
    for key in ["created_at", "updated_at", "expires_at", "id", "type", "status", "owner"]:
        for direction in ["asc", "desc"]:
            found = list(image.tasks(sort_key=key, sort_dir=direction, limit=250))
            assert len(found) == total, (key, direction, len(found))
            values = [getattr(task, NAMES.get(key, key)) or "" for task in found]
            assert values == sorted(values, reverse=direction == "desc"), (key, direction)
    counted = 0
    for status in STATUSES:
        found = list(client.tasks.list(filters={"status": status}, page_size=500))
        assert found and all(task["status"] == status for task in found), status
        assert len(list(image.tasks(status=status, limit=500))) == len(found)
        counted += len(found)
    assert counted == total
    for kind in PROBE["types"]:
        found = list(client.tasks.list(filters={"type": kind}, page_size=500))
        assert found and all(task["type"] == kind for task in found), kind
    both = list(client.tasks.list(filters={"type": PROBE["types"][0], "status": "failure"}, page_size=50))
    assert all((t["type"], t["status"]) == (PROBE["types"][0], "failure") for t in both)


def shows_a_task():
    client = glance()
    first = next(iter(client.tasks.list(page_size=1)))
    shown = client.tasks.get(first["id"])
    assert shown["message"] is not None and shown["owner"] == PROJECT, shown
    assert sdk().image.get_task(first["id"]).status == first["status"]
    assert json.loads(run("openstack", "image", "task", "show", first["id"], "-f", "json"))["id"] == first["id"]
    assert first["id"] in run("glance", "task-show", first["id"])


def fails_in_each_documented_way():
    client, image = glance(), sdk().image
    unknown = "7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d"

    def refused(call, kind, text):
        try:
            call()
        except kind as refusal:
            assert text in str(refusal), refusal
        else:
            raise AssertionError(text)

    refused(lambda: client.tasks.get(unknown), exc.HTTPNotFound, f"Could not find task {unknown}")
    refused(lambda: image.get_task(unknown), openstack.exceptions.NotFoundException, f"Could not find task {unknown}")
    for query, text in [
        ("limit=-1", "limit param must be positive"),
        ("limit=x", "limit param must be an integer"),
        ("marker=x", "Invalid marker format"),
        ("sort_key=info", "Sort key supplied was not valid."),
        ("sort_dir=up", "Invalid sort direction: up"),
        ("status=done", "Invalid status value: done"),
        ("type=none", "Invalid type value: none"),
    ]:
        refused(lambda: client.http_client.get(f"/v2/tasks?{query}"), exc.HTTPBadRequest, text)
        refused(lambda: openstack.exceptions.raise_from_response(image.get(f"/tasks?{query}")),
                openstack.exceptions.BadRequestException, text)
    refused(lambda: client.http_client.delete(f"/v2/tasks/{unknown}"), exc.HTTPMethodNotAllowed, "expire")
    for body, text in [
        ({"type": "export", "input": {}}, "does not match schema 'task'"),
        ({"type": "api_image_import", "input": {}}, "not supported here"),
        ({"type": "import", "input": {}}, "Invalid location: None"),
        ({"type": "import", "input": {"import_from": "http://10.0.0.1/x"}}, "does not pass filtering"),
        ({"type": "import", "input": {"import_from": "file:///etc/passwd"}}, "File based imports are not allowed"),
    ]:
        refused(lambda: client.http_client.post("/v2/tasks", data=body), exc.HTTPBadRequest, text)
    # A program that may only look.
    viewer = PROBE["viewer"]
    auth = v3.ApplicationCredential(AUTH, application_credential_id=viewer["id"],
                                    application_credential_secret=viewer["secret"])
    assert next(iter(glance(auth).tasks.list(page_size=1)))
    body = {"type": "import", "input": {"import_from": "http://10.0.0.1/x"}}
    refused(lambda: glance(auth).http_client.post("/v2/tasks", data=body), exc.HTTPForbidden, "add_task")


class Images(http.server.BaseHTTPRequestHandler):
    """A server of images, some of them not as they should be."""

    DATA = bytes(range(256)) * 4096 * 3

    def do_GET(self):
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/disk.raw" if "inside" not in self.path else "http://10.0.0.1/disk.raw")
            self.end_headers()
            return
        if not self.path.startswith("/disk.raw"):
            self.send_error(404)
            return
        self.send_response(200)
        if "unknown-length" not in self.path:
            self.send_header("Content-Length", str(len(self.DATA)))
        self.end_headers()
        self.wfile.write(self.DATA[:1000] if "short" in self.path else self.DATA)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """Whoever had enough hangs up."""


def imports_images():
    server = Server(("127.0.0.1", 0), Images)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    digest = hashlib.sha256(Images.DATA).hexdigest()
    client = glance()

    def ended(task):
        until = time.monotonic() + 300
        while (found := client.tasks.get(task["id"]))["status"] in ("pending", "processing"):
            assert time.monotonic() < until, found
            time.sleep(0.2)
        return found

    made = {}
    for name, source, more in [
        ("plain", "/disk.raw", {"sha256": digest, "size": len(Images.DATA)}),
        ("redirected", "/moved", {"sha256": digest}),
        ("unknown length", "/disk.raw?unknown-length&signature=secret", {}),
    ]:
        wish = {"import_from": base + source, "import_from_format": "raw", "image_properties": {"name": name}, **more}
        made[name] = client.tasks.create(type="import", input=wish)
        assert made[name]["status"] == "pending", made[name]
    for name, task in made.items():
        done = ended(task)
        assert done["status"] == "success", done
        result = done["result"]
        assert (result["sha256"], result["size"]) == (digest, len(Images.DATA)), done
        image = sdk().image.get_image(result["image_id"])
        assert (image.name, image.status, image.size) == (name, "active", len(Images.DATA)), image
        assert done["expires_at"] > done["updated_at"], done
    assert "secret" not in json.dumps([dict(ended(task)) for task in made.values()], default=str)
    listed = json.loads(run("openstack", "image", "list", "-f", "json"))
    assert sorted(image["Name"] for image in listed) == sorted(made), listed
    assert json.loads(run("openstack", "image", "show", "plain", "-f", "json"))["status"] == "active"
    for more in [["--all"], ["--status", "active"], ["--private", "--sort", "name:asc"]]:
        found = json.loads(run("openstack", "image", "list", *more, "-f", "json"))
        assert sorted(image["Name"] for image in found) == sorted(made), (more, found)
    assert len(list(sdk().image.images(status="active", limit=1))) == len(made)
    told = run("openstack", "image", "delete", "plain", fails=True)
    assert "a task of type 'import'" in told, told
    from_file = client.tasks.create(type="import", input={"import_from": f"file://{PROBE['images']}/local.raw"})
    assert ended(from_file)["status"] == "success", ended(from_file)

    for source, more, why in [
        ("/none", {}, f"{base.removeprefix('http://')}: the server answers 404"),
        ("/disk.raw", {"sha256": "0" * 64}, "The image is another one: its SHA-256"),
        ("/disk.raw", {"size": 7}, "7 were expected"),
        ("/disk.raw?short", {}, "The stream"),
        ("/moved-inside", {}, "10.0.0.1"),
    ]:
        task = client.tasks.create(type="import", input={"import_from": base + source, **more})
        failed = ended(task)
        assert failed["status"] == "failure" and why in failed["message"], failed
        assert failed["result"] is None and failed["message"].endswith("."), failed
    link = client.tasks.create(type="import", input={"import_from": f"file://{PROBE['images']}/link.raw"})
    assert "folder that the operator allows" in ended(link)["message"], ended(link)
    server.shutdown()
    print(json.dumps({"backup": ended(made["plain"])["result"]["backup_id"], "sha256": digest}))


if __name__ == "__main__":
    for act in [
        signs_in_each_way, finds_its_way_from_the_address_alone, looks_names_up, is_refused_without_a_reason,
        revokes_a_token, shows_a_task, pages_through_all_tasks, orders_and_filters,
        fails_in_each_documented_way, imports_images,
    ]:
        act()
        print(f"{act.__name__}: ok", flush=True)
