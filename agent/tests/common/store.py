"""An S3-compatible store with Object Lock for tests: moto's server, and somebody else's hands.

    store.py [--no-enforcement] [--keys] [--tls CERT KEY]

Prints its port. Then each line of standard input is a JSON array [CALL, ARGUMENTS] that boto3 makes to
it, the client that is not ours; each answer is a line [true, RESULT] or [false, "CODE"]. A Body may
be {"repeat": TEXT, "times": N}. It ends with its standard input.

--no-enforcement: a store that records legal holds and does not enforce them.
--keys: only known keys are let in, and their signatures checked. Prints id and secret of one that
  may do all, of one that may not delete, and of one that may not read what is called `secret`.
"""

import json
import logging
import os
import sys

arguments = sys.argv[1:]
keys = "--keys" in arguments
if keys:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
logging.disable(logging.CRITICAL)

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey
from threading import Thread
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    # Connections are kept, as stores keep them.
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


if "--no-enforcement" in arguments:
    FakeKey.is_locked = lambda self, governance_bypass: False
tls = None
if "--tls" in arguments:
    at = arguments.index("--tls")
    tls = (arguments[at + 1], arguments[at + 2])
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet, ssl_context=tls)
Thread(target=server.serve_forever, daemon=True).start()

credentials = [("all", "all")]
if keys:
    iam = iam_backends["123456789012"]["global"]
    credentials = []
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"], "Resource": "*"}
    secret = {"Effect": "Deny", "Action": ["s3:GetObject*"], "Resource": "arn:aws:s3:::*/secret"}
    for name, rules in [("all", [allow]), ("keeper", [allow, deny]), ("reader", [allow, secret])]:
        iam.create_user("us-east-1", name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": rules})
        iam.put_user_policy(name, "policy", policy)
        key = iam.create_access_key(name)
        credentials.append((key.access_key_id, key.secret_access_key))

client = boto3.client(
    "s3",
    endpoint_url=f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}",
    region_name="us-east-1",
    aws_access_key_id=credentials[0][0],
    aws_secret_access_key=credentials[0][1],
    verify=tls[0] if tls else None,
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
)
print(json.dumps([server.server_port, credentials]), flush=True)

for line in sys.stdin:
    call, given = json.loads(line)
    body = given.get("Body")
    if isinstance(body, dict):
        given["Body"] = body["repeat"] * body["times"]
    try:
        answer = [True, getattr(client, call)(**given)]
        if "Body" in answer[1]:
            answer[1]["Body"] = answer[1]["Body"].read().decode("utf-8", "replace")
    except ClientError as error:
        answer = [False, error.response["Error"]["Code"]]
    except BotoCoreError as error:
        answer = [False, f"not sent: {error}"]
    print(json.dumps(answer, default=str), flush=True)
