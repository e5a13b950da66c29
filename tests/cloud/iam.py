"""The gate before every call: what the principal's real policies say about it."""

import json
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.events.models import events_backends
from moto.iam.models import iam_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from tests.cloud.actions import needs
from tests.cloud.backbone import PARTITION, Backbone, Operator, Principal, Role, Service
from tests.cloud.keys import KeyRing, note
from tests.cloud.policy import Caller, Need, NotTaught, Verdict, judge, lets_in, owner_of
from tests.cloud.wire import Call, Refused

# Where a service does not say AccessDeniedException (400): its own code and status.
DENIALS = {
    "ec2": ("UnauthorizedOperation", 403),
    "sns": ("AuthorizationErrorException", 403),
    "lambda": ("AccessDeniedException", 403),
    "scheduler": ("AccessDeniedException", 403),
    **dict.fromkeys(("s3", "sqs", "sts", "cloudformation", "cloudwatch"), ("AccessDenied", 403)),
}


# What an administrator, too, needs from another account.
CROSSING = {("sts", "AssumeRole"), ("events", "PutEvents")}


class Gate:
    """Identity policies of roles, resource policies towards AWS services and other accounts, trust
    policies, and keys.

    Not judged: permission boundaries, service control policies, resource policies towards roles of
    the same account. The trust policy of a role never suffices by itself, as it does on AWS where
    it names a role of the same account; an administrator takes any role of his own, as tests do.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.keys = KeyRing(backbone, self.identity)

    def check(self, principal: Principal, call: Call, account: str) -> None:
        """Let ``call`` pass, and write down why.

        Raises:
            Refused: it is denied, in the service's own words.
            NotTaught: nobody said what the call needs, or what a policy means.
        """
        if not isinstance(principal, Operator) or (call.service, call.operation) in CROSSING:
            with self._backbone.lock:
                for need in needs(call, account):
                    self._require(principal, need, call, account)
        self.keys.check(principal, call, account)

    def allows(self, role: Role, need: Need) -> bool:
        """Judge one permission outside of a call, and write it down."""
        with self._backbone.lock:
            verdict = self._both_sides(role, need)
        note(self._backbone, role, need, verdict)
        return verdict == "allowed"

    def _require(self, principal: Principal, need: Need, call: Call, account: str) -> None:
        everywhere = {
            "aws:RequestedRegion": call.region,
            "aws:SecureTransport": "true",
            "aws:PrincipalAccount": principal.account,
            "aws:ResourceAccount": account,
        }
        if call.service == "ec2":
            everywhere["ec2:Region"] = call.region
        full = Need(need.action, need.resource, {**everywhere, **need.context})
        if isinstance(principal, Service):
            if owner_of(need.resource) not in (None, account):
                raise NotTaught(f"{principal.name} for {account}: {need.action} {need.resource}")
            verdict = self._resource(principal, full, call, account)
            who = f"Service: {principal.name} for {principal.source_arn}"
        else:
            full = Need(
                need.action, need.resource, {"aws:PrincipalArn": principal.arn, **full.context}
            )
            verdict = self._both_sides(principal, full)
            who = f"User: {principal.arn.replace(':role/', ':assumed-role/')}"
        note(self._backbone, principal, need, verdict)
        if verdict != "allowed":
            code, status = DENIALS.get(call.service, ("AccessDeniedException", 400))
            why = (
                "with an explicit deny"
                if verdict == "explicitDeny"
                else "because no policy allows it"
            )
            what = f"{need.action} on resource: {need.resource}"
            if call.service != "sts":
                what += f" {why}"
            raise Refused(code, f"{who} is not authorized to perform: {what}", status)

    def _both_sides(self, principal: Role | Operator, need: Need) -> Verdict:
        """What the caller's own policies say and, of what is another account's, that account."""
        at_home = owner_of(need.resource) in (None, principal.account)
        if isinstance(principal, Role):
            own = self.identity(principal, need)
            if own != "allowed" or (at_home and need.action != "sts:AssumeRole"):
                return own
        elif at_home:
            return "allowed"
        caller = Caller(principal.account, arn=principal.arn)
        return lets_in(self._asked_as_well(need), need, caller)

    def _asked_as_well(self, need: Need) -> list[Any]:
        match need.action:
            case "sts:AssumeRole":
                trust = self._backbone.trust_of(need.resource)
                return [] if trust is None else [trust]
            case "events:PutEvents":
                _, _, _, region, account, name = need.resource.split(":", 5)
                bus = events_backends[account][region].event_buses.get(name.rsplit("/", 1)[-1])
                return [json.loads(bus.policy)] if bus is not None and bus.policy else []
            case action:
                raise NotTaught(f"{action} on {need.resource} from another account")

    def identity(self, role: Role, need: Need) -> Verdict:
        backend = iam_backends[role.account][PARTITION]
        found = next((r for r in backend.roles.values() if r.arn == role.arn), None)
        if found is None:
            return "implicitDeny"
        documents: list[Any] = list(found.policies.values())
        documents += [
            next(version.document for version in policy.versions if version.is_default)
            for policy in found.managed_policies.values()
        ]
        parsed = [json.loads(d) if isinstance(d, str) else d for d in documents]
        return judge(parsed, need)

    def _resource(self, service: Service, need: Need, call: Call, account: str) -> Verdict:
        context = {
            **need.context,
            "aws:SourceArn": service.source_arn,
            "aws:SourceAccount": service.account,
        }
        asked = Need(need.action, need.resource, context)
        caller = Caller(service.account, service=service.name)
        return judge(self._resource_policies(call, account), asked, caller)

    @staticmethod
    def _resource_policies(call: Call, account: str) -> list[Any]:
        match call.service, call.operation:
            case "lambda", "Invoke":
                name = call.parameters["FunctionName"]
                function = lambda_backends[account][call.region].get_function(name)
                return [{"Statement": function.policy.statements}]
            case "sqs", "SendMessage" | "GetQueueUrl":
                name = (
                    call.parameters.get("QueueName")
                    or call.parameters["QueueUrl"].rsplit("/", 1)[-1]
                )
                queue = sqs_backends[account][call.region].queues.get(name)
                return [json.loads(queue.policy)] if queue and queue.policy else []
            case "sns", "Publish":
                topic = sns_backends[account][call.region].topics[call.parameters["TopicArn"]]
                return [json.loads(topic.policy)]
            case service, operation:
                raise NotTaught(f"the resource policy that {service}:{operation} asks")
