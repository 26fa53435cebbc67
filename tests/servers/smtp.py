"""A server of mail for tests: aiosmtpd with TLS and a login. Arguments: directory (with server.crt and server.key, for what arrives,
and for `port`, which is written when it listens), "tls", "starttls", or "open", which is starttls for everybody."""

import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

directory, mode = sys.argv[1:]
USER, PASSWORD = b"ops@example.org", b"smtp-p4ss/word"


class Keep:
    """Keeps each mail as it came, with its envelope before it."""

    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        name = os.path.join(directory, f"{Keep.count}.eml")
        encrypted = mode == "tls" or session.ssl is not None
        head = f"user={session.auth_data} tls={encrypted} from={envelope.mail_from} to={envelope.rcpt_tos}\n"
        with open(name + ".new", "wb") as file:
            file.write(head.encode() + envelope.content)
        os.rename(name + ".new", name)
        return "250 taken as number %d" % Keep.count


def login(server, session, envelope, mechanism, data):
    fine = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    return AuthResult(success=fine, handled=False, auth_data=data.login.decode() if fine else None)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(directory, "server.crt"), os.path.join(directory, "server.key"))
options = {"authenticator": login, "auth_required": True}
if mode == "starttls":
    options |= {"tls_context": context, "require_starttls": True}
elif mode == "open":
    options = {"tls_context": context, "require_starttls": True}
else:
    # It is encrypted already, which aiosmtpd does not know.
    options |= {"auth_require_tls": False}


async def serve():
    loop = asyncio.get_running_loop()
    factory = lambda: SMTP(Keep(), loop=loop, **options)
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    with open(os.path.join(directory, "port.new"), "w") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
    # It ends with who started it.
    while os.getppid() != 1:
        await asyncio.sleep(0.2)


asyncio.run(serve())
