#!/usr/bin/env python3
"""Takes tasks from a queue of Backstay and carries them out; see task-queue.md beside this file.

Each task asks for a number of files in a folder. Kill this program or the server at any moment and start it again: every
task is carried out to its end, and what was done already is not done again. It needs nothing but Python.
"""
import base64, json, os, sys, time, urllib.error, urllib.request

SERVER = os.environ["BACKSTAY_URL"].rstrip("/")
SECRET = base64.b64encode(f"{os.environ['CLIENT_ID']}:{os.environ['CLIENT_SECRET']}".encode()).decode()
QUEUE = os.environ.get("QUEUE", "files")
WORKER = os.environ.get("WORKER", "worker-1")
token = {"access_token": "", "expires_on": 0}


class NotOurs(Exception):
    """The task was given to somebody else, or is over: stop working on it."""


def send(method, path, body=None, headers=None):
    """One request, again and again while the server is away; its answer as JSON."""
    while True:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(SERVER + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (429, 502, 503):
                raise
            time.sleep(float(refusal.headers.get("Retry-After", 1)))
        except (OSError, ValueError) as error:  # cut off, refused, or half an answer
            print(f"{WORKER}: no answer ({error}), trying again", flush=True)
            time.sleep(0.2)


def tasks_api(method, path, body=None, lease=None):
    """A call of the task API, with a token that is renewed in time and the lease of the task."""
    if token["expires_on"] - time.time() < 900:
        form = {"Authorization": f"Basic {SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
        token.update(send("POST", "/api/2/idp/token", b"grant_type=client_credentials", form))
    headers = {"Authorization": f"Bearer {token['access_token']}", "Content-Type": "application/json"}
    if lease:
        headers["Task-Lease"] = lease
    try:
        return send(method, f"/api/task_manager/v2{path}", body, headers)
    except urllib.error.HTTPError as refusal:
        error = json.load(refusal)
        if error["code"] in ("leaseLost", "alreadyCompleted", "stateConflict"):
            raise NotOurs(error["message"])
        sys.exit(f"{WORKER}: {method} {path}: {error['message']}")


def write_part(folder, number):
    """One step of the work. Done twice it does no harm, because a step can be cut off before it is reported."""
    with open(os.path.join(folder, f"part-{number}.new"), "w") as file:
        file.write(f"part {number}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, os.path.join(folder, f"part-{number}"))


def carry_out(task):
    """Does what the task asks for, from where the last attempt came to, and says how it ended."""
    lease, call = task["lease"], f"/tasks/{task['id']}"
    wish = task["argument"]
    done = task.get("progress", {}).get("current", 0)
    status = tasks_api("PUT", f"{call}/started", lease=lease)
    try:
        os.makedirs(wish["folder"], exist_ok=True)
        while done < wish["parts"] and not status["cancelRequested"]:
            write_part(wish["folder"], done)
            done += 1
            time.sleep(wish.get("pause", 0))
            status = tasks_api("PUT", f"{call}/progress", {"current": done, "total": wish["parts"]}, lease)
        result = {"code": "cancelled" if status["cancelRequested"] and done < wish["parts"] else "ok"}
    except OSError as error:
        result = {"code": "error", "error": {"domain": "Files", "code": "notWritten", "message": str(error)}}
    tasks_api("PUT", f"{call}/completed", {"result": result}, lease)
    print(f"{WORKER}: task {task['id']} ended {result['code']} at part {done}", flush=True)


while True:
    wish = {"queues": [QUEUE], "consumer": {"id": WORKER, "clusterId": ""}, "wait": "30s"}
    for task in tasks_api("POST", "/tasks/assign", wish)["items"]:
        try:
            carry_out(task)
        except NotOurs as reason:
            print(f"{WORKER}: task {task['id']} is not ours any more: {reason}", flush=True)
