"""Backs a volume up, restores it and fetches files of it, as scripts over the Clumio API do: one base address with a slash at
its end, filters as JSON, pages until there is no next one, tasks that are polled by their status. Python's own library only.

What there is to do is in the environment as PROBE: endpoint, ca, token, data, tree (what is there, with its bytes)."""

import json
import os
import ssl
import tarfile
import io
import time
import urllib.error
import urllib.parse
import urllib.request

PROBE = json.loads(os.environ["PROBE"])
TLS = ssl.create_default_context(cafile=PROBE["ca"])
BASE = f"https://{PROBE['endpoint']}/"
ENDS = ("completed", "failed", "aborted")


def call(method, path, body=None, version="*=v2"):
    """A call below the base address, which ends with a slash; the status and the body."""
    request = urllib.request.Request(BASE + path, method=method)
    request.add_header("Authorization", f"Bearer {PROBE['token']}")
    request.add_header("Accept", f"application/api.clumio.{version}+json")
    request.add_header("x-clumio-organizationalunit-context", "")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "text/plain; charset=utf-8")
    try:
        with urllib.request.urlopen(request, context=TLS, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def good(method, path, body=None, version="*=v2"):
    status, answer = call(method, path, body, version)
    assert status in (200, 202), (method, path, status, answer)
    return answer


def listed(path, wish, limit=1):
    """All items of a list, page by page; the next page is where the link says."""
    query = {"limit": limit, "start": "", "filter": json.dumps(wish)}
    found, answer = [], good("GET", f"/{path}?{urllib.parse.urlencode(query)}")
    while True:
        found += answer["_embedded"]["items"]
        following = answer["_links"].get("_next")
        if following is None:
            return found
        answer = good("GET", following["href"])


def ended(task):
    """The task when it has ended."""
    for _ in range(600):
        found = good("GET", f"/tasks/{task}?wait=5")
        if found["status"] in ENDS:
            return found
        time.sleep(0.1)
    raise AssertionError(f"task {task} does not end")


def completed(started):
    task = ended(started["task_id"])
    assert task["status"] == "completed", task
    return task


def say(what):
    print(f"{what}: ok")


def the_same(folder, tree):
    """Whether a restored folder holds these files, whole path and all."""
    for path, text in tree.items():
        with open(folder + path, "rb") as file:
            assert file.read() == text.encode(), path


environments = listed("datasources/aws/environments", {"connection_status": {"$eq": "connected"}})
assert len(environments) == 1, environments
environment = environments[0]
pair = {"account_native_id": {"$eq": environment["account_native_id"]}, "aws_region": {"$eq": environment["aws_region"]}}
assert listed("datasources/aws/environments", pair) == [environment]
say("the environment")

volumes = listed("datasources/aws/ebs-volumes", {"environment_id": {"$eq": environment["id"]}, "is_deleted": {"$eq": "false"}})
volume = next(v for v in volumes if v["name"] == PROBE["volume"])
assert volume["tags"] and volume["is_supported"], volume
say("the volume")

asked = good("POST", "backups/aws/ebs-volumes?embed=read-task", {
    "volume_id": volume["id"], "type": "clumio_backup",
    "settings": {"retention_duration": {"unit": "days", "value": 3}, "backup_aws_region": None, "advanced_settings": None},
})
assert asked["_embedded"]["read-task"]["id"] == asked["task_id"], asked
task = completed(asked)
assert task["primary_entity"]["id"] == volume["id"] and task["category"] == "backup", task
backups = listed("backups/aws/ebs-volumes", {
    "volume_id": {"$eq": volume["id"]}, "start_timestamp": {"$gt": "2020-01-01T00:00:00Z"},
})
backup = backups[0]
assert backup["expiration_timestamp"] > backup["start_timestamp"], backup
assert backup["account_native_id"] == environment["account_native_id"], backup
assert backup["aws_region"] == environment["aws_region"], backup
say("a backup")

restored = completed(good("POST", "restores/aws/ebs-volumes", {
    "source": {"backup_id": backup["id"]},
    "target": {
        "environment_id": environment["id"], "aws_az": backup["aws_az"], "type": backup["volume_type"],
        "iops": backup["iops"], "kms_key_native_id": None, "tags": [{"key": "Name", "value": "a copy"}],
    },
}))
usual = PROBE["restored"]
the_same(f"{usual}/a copy", PROBE["tree"])
again = completed(good("POST", "restores/aws/ebs-volumes", {
    "source": {"backup_id": backup["id"]},
    "target": {"environment_id": environment["id"], "tags": [{"key": "Name", "value": "a copy"}]},
}, "*=v1"))
the_same(f"{usual}/a copy-{again['id']}", PROBE["tree"])
elsewhere = environment["aws_az"][1]
named = completed(good("POST", "restores/aws/ebs-volumes", {
    "source": {"backup_id": backup["id"]}, "target": {"environment_id": environment["id"], "aws_az": f"{elsewhere}/deep"},
}))
the_same(f"{elsewhere}/deep/{PROBE['volume']}-restored-{named['id']}", PROBE["tree"])
status, refused = call("POST", "restores/aws/ebs-volumes", {
    "source": {"backup_id": backup["id"]}, "target": {"environment_id": environment["id"], "aws_az": "/etc"},
})
assert (status, refused["errors"][0]["error_code"]) == (400, 4003), refused
say("restores")

systems = listed(f"backups/{backup['id']}/filesystems", {})
assert [s["mount_path"] for s in systems] == [PROBE["data"]], systems
browse = systems[0]["_links"]["read-backup-filesystem-directory"]["href"].lstrip("/")
top = listed(browse, {}, 2)
assert sorted(e["name"] for e in top) == ["letter", "sub"], top
below = next(e for e in top if e["is_directory"])["_links"]["_self"]["href"].lstrip("/")
assert [e["name"] for e in listed(below, {})] == ["bücher, alt.txt"]
say("what is in it")


def fetched(paths):
    files = [{"filesystem_id": systems[0]["id"], "path": path} for path in paths]
    started = good("POST", "restores/files", {"source": {"backup_id": backup["id"], "files": files}, "target": None})
    done = completed(started)
    assert done["primary_entity"]["type"] == "restored_file", done
    wish = {"asset_type": {"$eq": "aws_ebs_volume"}, "asset_id": {"$eq": volume["id"]}}
    file = next(f for f in listed("restores/files", wish) if f["id"] == started["id"])
    link = file["access_methods"][0]["direct_download"]["download_link"]
    with urllib.request.urlopen(link, context=TLS, timeout=60) as answer:
        body = answer.read()
    assert len(body) == file["size"], file
    return file["name"], body


tree = {path[len(PROBE["data"]):]: text for path, text in PROBE["tree"].items()}
name, body = fetched(["/letter"])
assert (name, body) == ("letter", tree["/letter"].encode()), name
name, body = fetched(["/letter", "/sub"])
assert name == "files.tar.gz", name
with tarfile.open(fileobj=io.BytesIO(body)) as archive:
    files = {"/" + m.name: archive.extractfile(m).read().decode() for m in archive.getmembers() if m.isfile()}
assert files == tree, files
name, _ = fetched(["/sub"])
assert name == "sub.tar.gz", name
say("files that are fetched")

status, refused = call("POST", "restores/files", {
    "source": {"backup_id": backup["id"], "files": [{"filesystem_id": "1", "path": "/not there"}]},
})
assert status == 202, refused
failed = ended(refused["task_id"])
assert failed["status"] == "failed" and "not there" in failed["failed_reason"], failed
say("a file that is not there")
