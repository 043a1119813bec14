"""A mail server that takes mail from who signs in with the password in its arguments. It prints its port, then each mail that it took.

An address that begins with "full." is answered like a full mailbox.
"""

import asyncio, email, email.policy, json, sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

username, password = sys.argv[1:]


class Taking:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('full.'):
            return '452 4.2.2 Mailbox full'
        envelope.rcpt_tos.append(address)
        return '250 OK'

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        taken = {'from': envelope.mail_from, 'to': envelope.rcpt_tos, 'headers': dict(mail.items()), 'text': mail.get_content()}
        print(json.dumps(taken), flush=True)
        return '250 OK'


def knows(server, session, envelope, mechanism, login):
    fine = isinstance(login, LoginPassword) and (login.login, login.password) == (username.encode(), password.encode())
    return AuthResult(success=fine, handled=False)


async def serve():
    made = lambda: SMTP(Taking(), authenticator=knows, auth_required=True, auth_require_tls=False)
    server = await asyncio.get_running_loop().create_server(made, '127.0.0.1', 0)
    print(json.dumps({'port': server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(serve())
