"""Takes notifications as others do: webhooks, verified by the package of the standard, and e-mail.

    receiver.py FOLDER CERTIFICATE KEY

The SMTP server takes letters only over TLS, from `backstay` with the password `tape`. What comes is appended to
FOLDER/got.jsonl. While there is a file FOLDER/refuse, webhooks are answered with 500. The secret of webhooks is read from
FOLDER/secret. When both answer, `Running on HTTP-PORT SMTP-PORT` is printed on standard error.
"""

import email
import email.policy
import http.server
import json
import pathlib
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from standardwebhooks import Webhook

FOLDER, CERTIFICATE, KEY = (pathlib.Path(arg) for arg in sys.argv[1:4])
LOCK = threading.Lock()


def note(**what):
    with LOCK, open(FOLDER / "got.jsonl", "a") as file:
        file.write(json.dumps(what) + "\n")


class Hooks(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        refuse = (FOLDER / "refuse").exists()
        try:
            said = Webhook((FOLDER / "secret").read_text()).verify(body, dict(self.headers))
            note(hook=said, id=self.headers["webhook-id"], refused=refuse)
            status = 500 if refuse else 204
        except Exception as wrong:  # pylint: disable=broad-except
            note(wrong=repr(wrong))
            status = 400
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


class Letters:
    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        headers = {name.lower(): str(value) for name, value in letter.items()}
        note(mail=letter.get_content(), headers=headers, to=envelope.rcpt_tos, tls=session.ssl is not None)
        return "250 taken"


def sign_in(server, session, envelope, mechanism, data):
    # What was not handled, the server answers.
    right = (data.login, data.password) == (b"backstay", b"tape")
    return AuthResult(success=right, handled=False)


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
hooks = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hooks)


class Post(Controller):
    """One that is told by the system which port is free."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


post = Post(
    Letters(),
    hostname="127.0.0.1",
    port=0,
    tls_context=tls,
    require_starttls=True,
    auth_required=True,
    authenticator=sign_in,
    # Otherwise the name of this machine is looked up for each connection.
    server_hostname="localhost",
    ready_timeout=180,
)
post.start()
print("Running on", hooks.server_address[1], post.port, file=sys.stderr, flush=True)
hooks.serve_forever()
