"""A server of mail for tests: aiosmtpd with TLS and a login. Arguments: directory (with server.crt and server.key, for what arrives,
and for `port`, which is written when it listens), "tls" or "starttls"."""

import os
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

directory, mode = sys.argv[1:]
USER, PASSWORD = b"ops@example.org", b"smtp-p4ss/word"


class Keep:
    """Keeps each mail as it came, with its envelope before it."""

    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        name = os.path.join(directory, f"{Keep.count}.eml")
        head = f"user={session.login_data} tls={session.ssl is not None} from={envelope.mail_from} to={envelope.rcpt_tos}\n"
        with open(name + ".new", "wb") as file:
            file.write(head.encode() + envelope.content)
        os.rename(name + ".new", name)
        return "250 taken as number %d" % Keep.count


def login(server, session, envelope, mechanism, data):
    fine = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    session.login_data = data.login.decode() if fine else None
    return AuthResult(success=fine, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(directory, "server.crt"), os.path.join(directory, "server.key"))
how = {"ssl_context": context} if mode == "tls" else {"tls_context": context, "require_starttls": True}
controller = Controller(
    Keep(), hostname="127.0.0.1", port=0, authenticator=login, auth_required=True, auth_require_tls=mode != "tls", **how
)
# Port 0 is none that the controller could try itself.
controller._trigger_server = lambda: None
controller.start()
with open(os.path.join(directory, "port.new"), "w") as file:
    file.write(str(controller.server.sockets[0].getsockname()[1]))
os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
# It ends with who started it.
while os.getppid() != 1:
    time.sleep(0.2)
