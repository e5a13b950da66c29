"""One fresh process of ``tests.bench.cold``, with nothing but the standard library at its start.

``first HANDLER FUNCTION``: import the handler and have it answer the event on standard input.
``floor``: import boto3 and make the clients that standard input lists.

Prints a line of JSON: ``whole`` from the first line on, ``imported`` when the handler was there,
``waited`` while calls were out or a pace was kept (seconds), ``cpu`` of the process, and
``clients`` as made.
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402


class Context:
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    memory_limit_in_mb = 512

    def __init__(self, function):
        self.function_name = function
        self.invoked_function_arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{function}"

    def get_remaining_time_in_millis(self):
        return 600_000


def floor(wanted):
    import boto3
    from botocore.config import Config

    clients = [
        boto3.client(service, region_name=region, config=Config(**options))
        for service, region, options in wanted
    ]
    return {"whole": time.perf_counter() - BEGAN, "waited": 0.0, "clients": len(clients)}


def first(handler, function, event):
    import importlib

    module, name = handler.rsplit(".", 1)
    handle = getattr(importlib.import_module(module), name)
    imported = time.perf_counter() - BEGAN
    waits, clients = watched()
    handle(event, Context(function))
    whole = time.perf_counter() - BEGAN
    return {"whole": whole, "imported": imported, "waited": sum(waits), "clients": clients}


def watched():
    """How long each wait is from now on, and each client that is made."""
    # Both are imported by whatever makes a client.
    from botocore.httpsession import URLLib3Session
    from botocore.session import Session

    waits, clients = [], []
    create = Session.create_client

    def timed(wait):
        def waiting(*given):
            began = time.perf_counter()
            try:
                return wait(*given)
            finally:
                waits.append(time.perf_counter() - began)

        return waiting

    def noted_create(session, service_name, region_name=None, config=None, **others):
        options = config._user_provided_options if config else {}
        clients.append((service_name, region_name, options))
        return create(session, service_name, region_name=region_name, config=config, **others)

    URLLib3Session.send, Session.create_client = timed(URLLib3Session.send), noted_create
    time.sleep = timed(time.sleep)
    return waits, clients


def main():
    given = json.load(sys.stdin)
    match sys.argv[1:]:
        case ["floor"]:
            result = floor(given)
        case ["first", handler, function]:
            result = first(handler, function, given)
    # The handler may have logged; what was measured is the last line.
    print("\n" + json.dumps({**result, "cpu": time.process_time()}))


main()
