"""Clients of the Acronis Task Manager API as they are seen in the wild, each with what it sends and what it trusts.

Written anew from how those programs behave; each function is one of them. They are run against a real server by
tests/tests/acronis_clients.rs, which knows what is in the ledger: PROBE holds it as JSON.
"""
import base64, json, os, sys, time
from datetime import datetime, timedelta, timezone

import requests

URL = os.environ["BACKSTAY_URL"]
ID, SECRET = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
LOGIN, PASSWORD = os.environ["LOGIN"], os.environ["PASSWORD"]
PROBE = json.loads(os.environ["PROBE"])
API = f"{URL}/api/task_manager/v2"


def token(data=None, auth=(ID, SECRET), headers=None):
    answer = requests.post(f"{URL}/api/2/idp/token", auth=auth, data=data or {"grant_type": "client_credentials"}, headers=headers)
    assert answer.ok, answer.text
    return answer.json()


def session(data=None, auth=(ID, SECRET)):
    s = requests.Session()
    s.headers["Authorization"] = "Bearer " + token(data, auth)["access_token"]
    return s


def days_ago(n):
    return (datetime.now(timezone.utc) - timedelta(days=n)).strftime("%Y-%m-%dT00:00:00Z")


def python_examples():
    """Percent-encoded gt(..), size, result.code; pages by limit+lod+after without the filter; a token kept in a file."""
    kept = token()
    assert kept["expires_on"] - time.time() > 900 and isinstance(kept["expires_on"], int)
    assert kept["token_type"] == "bearer" and kept["expires_in"] == 7200 and kept["id_token"].count(".") == 2
    s = session()
    for kind in "tasks", "activities":
        week = {"completedAt": f"gt({days_ago(7)})"}
        everything = s.get(f"{API}/{kind}", params=week).json()
        assert everything["size"] == len(everything["items"]) == PROBE[f"completed_{kind}"]
        assert {i["result"]["code"] for i in everything["items"]} == {"ok", "error"}
        page = s.get(f"{API}/{kind}", params={"limit": "10", "lod": "short", **week}).json()
        seen, pages = [i["id"] for i in page["items"]], 1
        while "paging" in page and "after" in page["paging"]["cursors"]:
            after = page["paging"]["cursors"]["after"]
            page = s.get(f"{API}/{kind}", params={"limit": "10", "lod": "short", "after": after}).json()
            seen += [i["id"] for i in page["items"]]
            pages += 1
        assert seen == [i["id"] for i in everything["items"]], (kind, seen)
        assert pages == -(-len(seen) // 10)


def powershell_examples():
    """Failed backups of the last week."""
    found = session().get(f"{API}/tasks", params={"resultCode": "error", "policyType": "backup", "completedAt": f"gt({days_ago(7)})"}).json()
    assert [i["id"] for i in found["items"]] == PROBE["failed"]
    assert all(i["result"]["error"]["message"] and i["policy"]["type"] == "backup" for i in found["items"])
    assert "after" not in found["paging"]["cursors"]


def python_samples():
    """Finds the server by login, takes a token by password, asks who it is, bare lists, one task by number."""
    server = requests.get(f"{URL}/api/1/accounts", params={"login": LOGIN}).json()["server_url"]
    assert server == URL and not server.endswith("/")
    by_password = token({"grant_type": "password", "username": LOGIN, "password": PASSWORD, "scope": "openid"}, None)
    s = requests.Session()
    s.headers["Authorization"] = f"{by_password['token_type']} {by_password['access_token']}"
    me = s.get(f"{server}/api/2/users/me").json()
    assert me["login"] == LOGIN and me["tenant_id"] == me["personal_tenant_id"] == PROBE["tenant"]
    tasks = s.get(f"{server}/api/task_manager/v2/tasks").json()["items"]
    assert s.get(f"{server}/api/task_manager/v2/activities").json()["items"]
    for item in tasks[0], tasks[-1]:
        one = s.get(f"{server}/api/task_manager/v2/tasks/{item['id']}").json()
        assert one["id"] == item["id"] and "error" not in one and one["idString"] == str(one["id"])


def strict_mirror():
    """Follows limit+after only; a full page must have a cursor or be the explicit end, and a short one none."""
    s = session()
    for limit in 7, 100:
        page, seen = s.get(f"{API}/tasks", params={"limit": limit, "queue": "agents"}).json(), []
        while True:
            cursors = page["paging"]["cursors"]
            assert cursors == page["cursors"] and ("after" in cursors or cursors == {})
            if "after" in cursors:
                assert len(page["items"]) == limit and cursors["after"]
            seen += [(i["id"], i["tenant"]["uuid"]) for i in page["items"]]
            if "after" not in cursors:
                break
            page = s.get(f"{API}/tasks", params={"limit": limit, "after": cursors["after"]}).json()
        assert len(seen) == len(set(seen)) == PROBE["backups"]


def monthly_report():
    """Two completedAt, after alone; counts what a person would call a backup by the context of root activities."""
    s, since, until = session(), days_ago(30), (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    page = s.get(f"{API}/activities?policyType=backup&completedAt=gt({since})&completedAt=lt({until})&limit=200").json()
    items = page["items"]
    while page["paging"]["cursors"].get("after"):
        page = s.get(f"{API}/activities", params={"after": page["paging"]["cursors"]["after"]}).json()
        items += page["items"]
    runs = [i for i in items if i.get("context", {}).get("IsProcessRoot")]
    assert len(runs) == PROBE["backups"]
    assert {i["context"]["runMode"] for i in runs} == {"manual"} and all("backup" in i["context"]["title"] for i in runs)
    assert sum(i["progress"]["bytesProcessed"] for i in items if i.get("progress", {}).get("bytesProcessed")) == PROBE["bytes"]


def connector_script():
    """The default level of detail must do."""
    for i in session().get(f"{API}/tasks", params={"completedAt": f"gt({days_ago(1)})", "queue": "agents"}).json()["items"]:
        assert i["executor"]["id"] and i["policy"]["name"] and i["result"]["code"] and i["context"]["MachineName"]


def poller():
    """Pages of 1000 with all parameters repeated beside the cursor, into typed columns: no time is null or empty."""
    s, query, rows = session(), {"limit": 3, "startedAt": f"gt({days_ago(7)})"}, {}
    after = None
    while after != "":
        page = s.get(f"{API}/tasks", params={**query, **({"after": after} if after else {})}).json()
        for i in page["items"]:
            assert i["id"] not in rows and i["id"] < 2**53
            for name in "enqueuedAt", "startedAt", "completedAt", "updatedAt":
                if name in i:
                    assert i[name].endswith("Z") and datetime.fromisoformat(i[name][:19])
            rows[i["id"]] = i
        after = page["paging"]["cursors"].get("after", "")
    assert len(rows) == PROBE["started"]


def monitor():
    """Five-minute monitor: newest activities first, what failed and why, how much was read and stored."""
    items = session().get(f"{API}/activities", params={"limit": 200, "order": "desc(createdAt)"}).json()["items"]
    assert [i["createdAt"] for i in items] == sorted((i["createdAt"] for i in items), reverse=True)
    failed = [i for i in items if i.get("result", {}).get("code") == "error" and i.get("context", {}).get("IsProcessRoot")]
    assert len(failed) == len(PROBE["failed"]) + PROBE["failed_outside"]
    assert all(i["result"]["error"]["message"] for i in failed)
    assert any(i["policy"]["type"] == "backup" and i["progress"]["current"] == 100 for i in items if "progress" in i and "policy" in i)


def node_report():
    """One machine's history; its id in the other letter case."""
    s, machine = session(), PROBE["resource"].upper()
    found = s.get(f"{API}/tasks?resourceId={machine}&completedAt=gt({days_ago(7)})&order=asc(completedAt)").json()["items"]
    ends = [i["completedAt"] for i in found]
    assert len(found) == PROBE["of_resource"] and ends == sorted(ends)


def live_ui():
    """What runs now, with percentages."""
    found = session().get(f"{API}/tasks?limit=100&order=desc(startedAt)&state=started&state=paused").json()["items"]
    assert [i["idString"] for i in found] == [str(n) for n in PROBE["running"]]
    assert [i["progress"]["current"] for i in found] == [40]


def failure_view():
    """Everything that failed anywhere, in one answer, and counted by tenant and result."""
    failed = "resultCode=error&resultCode=abandoned&resultCode=timedout"
    s = session()
    rows = s.get(f"{API}/activities?{failed}&policyType=backup&completedAt=gt({days_ago(1)})&lod=long").json()["items"]
    roots = [i for i in rows if i.get("context", {}).get("IsProcessRoot")]
    assert {i["taskId"] for i in roots} == set(PROBE["failed"])
    counted = s.get(f"{API}/tasks?{failed}&policyType=backup&lod=count&groupBy=tenant,resultCode").json()
    assert counted["count"] == counted["size"] == len(PROBE["failed"]) and counted["items"] == []
    assert counted["groups"][0]["resultCode"] == "error" and counted["groups"][0]["tenant"]["uuid"] == PROBE["tenant"]


def wrong_names():
    """A misspelt filter never shows wrong rows."""
    refused = session().get(f"{API}/tasks", params={"result_code": "error"})
    error = refused.json()
    assert refused.status_code == 400 and error["code"] == error["reason"] == "unknownParameter"
    assert error["context"]["parameter"] == "result_code" and error["context"]["suggestion"] == "resultCode"


def scoped_token():
    """A token narrowed to a customer sees that customer's tasks and nothing else."""
    narrowed = {"grant_type": "client_credentials", "scope": f"urn:acronis.com:tenant-id:{PROBE['customer']}"}
    granted = token(narrowed)["access_token"]
    claims = json.loads(base64.urlsafe_b64decode(granted.split(".")[1] + "=="))
    assert [c["tuid"] for c in claims["scope"]] == [PROBE["customer"]] and claims["client_id"] == ID
    bearer = {"Authorization": f"Bearer {granted}"}
    assert [i["id"] for i in requests.get(f"{API}/tasks", headers=bearer).json()["items"]] == PROBE["of_customer"]
    again = {**narrowed, "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": granted}
    assert token(again, None, bearer)["access_token"]


def pyacronis():
    """The package from PyPI: it takes a token and asks for its own client at once, and then for tenants."""
    from pyacronis import AcronisAPIClient

    client = AcronisAPIClient(ID, SECRET, URL)
    assert client.tenant_id == PROBE["tenant"] and client.access_token.count(".") == 2
    own = client.clients.id(ID).get()
    assert str(own.tenant_id) == PROBE["tenant"] and own.type == "api_client"


if __name__ == "__main__":
    clients = [f for name, f in list(globals().items()) if callable(f) and getattr(f, "__doc__", None) and f.__module__ == "__main__"]
    for client in clients:
        try:
            client()
        except Exception:
            print(f"{client.__name__}: {client.__doc__}", file=sys.stderr)
            raise
        print(f"{client.__name__}: ok")
