"""CloudFormation: stacks and change sets, as the CDK CLI uses them.

moto's own engine ignores types that it lacks, loses the Outputs of change sets and knows no
rollback, so this one takes its place. Source of states and rollback: the CloudFormation User Guide,
"Stack status codes" and "Stack failure options".
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote, urlparse

from botocore.exceptions import BotoCoreError, ClientError

from tests.cloud.backbone import Backbone, Operator
from tests.cloud.resources import KINDS, CannotMake, Made, Place, Properties
from tests.cloud.templates import Scope, TemplateError, in_order, parse
from tests.cloud.wire import Call, Refused, Reply

NO_CHANGES = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)
REFUSALS = (ClientError, BotoCoreError, CannotMake, TemplateError)


class Failed(Exception):
    """A resource could not be made, changed or removed."""

    def __init__(self, logical_id: str, reason: str) -> None:
        super().__init__(f"{logical_id}: {reason}")
        self.logical_id = logical_id
        self.reason = reason


@dataclass(frozen=True)
class Live:
    """A resource that exists."""

    logical_id: str
    type: str
    made: Made
    properties: Properties
    entry: Mapping[str, Any]

    def kept(self, policy: str, *, rolling_back: bool) -> bool:
        """RetainExceptOnCreate keeps what there was before this deployment."""
        keeps = self.entry.get(policy, "Delete")
        return keeps != "Delete" and not (rolling_back and keeps == "RetainExceptOnCreate")


@dataclass
class ChangeSet:
    id: str
    name: str
    type: str
    template: str
    parameters: dict[str, str]
    tags: list[dict[str, str]]
    changes: list[dict[str, Any]]
    role: str | None
    status: str = "CREATE_COMPLETE"
    reason: str | None = None
    execution: str = "AVAILABLE"


@dataclass
class Stack:
    name: str
    id: str
    account: str
    region: str
    created: datetime
    status: str = "REVIEW_IN_PROGRESS"
    reason: str | None = None
    template: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    role: str | None = None
    protected: bool = False
    live: dict[str, Live] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    change_sets: list[ChangeSet] = field(default_factory=list)


@dataclass(frozen=True)
class Submitted:
    """A template with its parameters, as a create or an update gives it."""

    template: str
    parameters: dict[str, str]


class Stacks:
    """All stacks, by account and Region; every operation is over when it is answered."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._stacks: dict[tuple[str, str], list[Stack]] = {}

    def answer(self, call: Call, account: str) -> Reply:
        """Raises NotImplementedError for an operation that is not taught."""
        operation = self.OPERATIONS.get(call.operation)
        if operation is None:
            raise NotImplementedError(f"cloudformation:{call.operation}")
        stacks = self._stacks.setdefault((account, call.region), [])
        return call.answer(operation(self, stacks, call.parameters, (account, call.region)))

    # ------------------------------------------------------------------------ finding

    @staticmethod
    def _find(stacks: list[Stack], name: str) -> Stack:
        for stack in reversed(stacks):
            if name == stack.id or (name == stack.name and stack.status != "DELETE_COMPLETE"):
                return stack
        raise Refused("ValidationError", f"Stack with id {name} does not exist", 400)

    def _change_set(self, stacks: list[Stack], given: Properties) -> tuple[Stack, ChangeSet]:
        wanted = given["ChangeSetName"]
        candidates = [self._find(stacks, given["StackName"])] if "StackName" in given else stacks
        for stack in candidates:
            for change_set in reversed(stack.change_sets):
                if wanted in (change_set.id, change_set.name):
                    return stack, change_set
        raise Refused("ChangeSetNotFound", f"ChangeSet [{wanted}] does not exist", 404)

    def _submitted(
        self, given: Properties, stack: Stack | None, where: tuple[str, str]
    ) -> Submitted:
        if "TemplateBody" in given:
            template = given["TemplateBody"]
        elif given.get("UsePreviousTemplate") and stack is not None:
            template = stack.template
        else:
            template = self._download(given["TemplateURL"], where)
        previous = stack.parameters if stack is not None else {}
        parameters = {
            p["ParameterKey"]: previous[p["ParameterKey"]]
            if p.get("UsePreviousValue")
            else p.get("ParameterValue", "")
            for p in given.get("Parameters", [])
        }
        try:
            declared = parse(template).get("Parameters", {})
        except TemplateError as wrong:
            raise Refused("ValidationError", str(wrong), 400) from wrong
        missing = [n for n, p in declared.items() if n not in parameters and "Default" not in p]
        if missing:
            raise Refused("ValidationError", f"Parameters: {missing} must have values", 400)
        return Submitted(template, parameters)

    def _download(self, url: str, where: tuple[str, str]) -> str:
        parsed = urlparse(url)
        path = unquote(parsed.path).lstrip("/")
        virtual_hosted = re.match(r"(.+)\.s3[.-]", parsed.hostname or "")
        bucket, key = (virtual_hosted[1], path) if virtual_hosted else path.split("/", 1)
        s3 = self._client_of(where[0])("s3", where[1])
        answer = s3.get_object(Bucket=bucket, Key=key)
        return str(answer["Body"].read().decode())

    # --------------------------------------------------------------------- change sets

    def _create_change_set(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        kind = given.get("ChangeSetType", "UPDATE")
        if kind == "CREATE":
            reviewed = [s for s in stacks if s.name == given["StackName"]]
            stack = next((s for s in reviewed if s.status == "REVIEW_IN_PROGRESS"), None)
            stack = stack or self._new(stacks, given["StackName"], where)
        else:
            stack = self._find(stacks, given["StackName"])
        submitted = self._submitted(given, stack, where)
        arn = f"arn:aws:cloudformation:{where[1]}:{where[0]}"
        change_set = ChangeSet(
            id=f"{arn}:changeSet/{given['ChangeSetName']}/{uuid.uuid4()}",
            name=given["ChangeSetName"],
            type=kind,
            template=submitted.template,
            parameters=submitted.parameters,
            tags=given.get("Tags", []),
            changes=self._changes(stack, submitted),
            role=given.get("RoleARN"),
        )
        if kind == "UPDATE" and not self._differs(stack, submitted):
            change_set.status, change_set.execution = "FAILED", "UNAVAILABLE"
            change_set.reason = NO_CHANGES
        stack.change_sets.append(change_set)
        return {"Id": change_set.id, "StackId": stack.id}

    def _differs(self, stack: Stack, submitted: Submitted) -> bool:
        old, new = parse(stack.template), parse(submitted.template)
        parts = ("Resources", "Outputs", "Conditions", "Mappings", "Parameters")
        before, after = ({p: t.get(p) for p in parts} for t in (old, new))
        resolved = self._parameters(new, submitted.parameters, stack)
        return before != after or resolved != stack.resolved

    @staticmethod
    def _changes(stack: Stack, submitted: Submitted) -> list[dict[str, Any]]:
        old = {name: live.entry for name, live in stack.live.items()}
        new = parse(submitted.template)["Resources"]

        def change(action: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
            detail = {"Action": action, "LogicalResourceId": name, "ResourceType": entry["Type"]}
            return {"Type": "Resource", "ResourceChange": {**detail, "Scope": [], "Details": []}}

        return [
            *(change("Add", n, e) for n, e in new.items() if n not in old),
            *(change("Modify", n, e) for n, e in new.items() if n in old and old[n] != e),
            *(change("Remove", n, e) for n, e in old.items() if n not in new),
        ]

    def _describe_change_set(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        stack, change_set = self._change_set(stacks, given)
        return {
            "ChangeSetName": change_set.name,
            "ChangeSetId": change_set.id,
            "StackId": stack.id,
            "StackName": stack.name,
            "Parameters": _listed(change_set.parameters),
            "CreationTime": self._backbone.clock.now(),
            "ExecutionStatus": change_set.execution,
            "Status": change_set.status,
            "StatusReason": change_set.reason,
            "Capabilities": [],
            "Tags": change_set.tags,
            "Changes": change_set.changes,
        }

    def _execute_change_set(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        stack, change_set = self._change_set(stacks, given)
        if change_set.execution != "AVAILABLE":
            message = f"ChangeSet [{change_set.id}] cannot be executed in its current status"
            raise Refused("InvalidChangeSetStatus", message, 400)
        change_set.execution = "EXECUTE_COMPLETE"
        stack.tags, stack.role = change_set.tags, change_set.role
        submitted = Submitted(change_set.template, change_set.parameters)
        (self._create if change_set.type == "CREATE" else self._update)(stack, submitted)
        return {}

    def _delete_change_set(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        try:
            stack, change_set = self._change_set(stacks, given)
        except Refused:
            return {}  # "If the call succeeds" it also does for one that is not there
        stack.change_sets.remove(change_set)
        return {}

    # ----------------------------------------------------------------- whole operations

    def _new(self, stacks: list[Stack], name: str, where: tuple[str, str]) -> Stack:
        if any(s.name == name and s.status != "DELETE_COMPLETE" for s in stacks):
            raise Refused("AlreadyExistsException", f"Stack [{name}] already exists", 400)
        account, region = where
        stack_id = f"arn:aws:cloudformation:{region}:{account}:stack/{name}/{uuid.uuid4()}"
        stack = Stack(name, stack_id, account, region, self._backbone.clock.now())
        stacks.append(stack)
        return stack

    def _create_stack(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        submitted = self._submitted(given, None, where)
        stack = self._new(stacks, given["StackName"], where)
        stack.tags, stack.role = given.get("Tags", []), given.get("RoleARN")
        self._create(stack, submitted)
        return {"StackId": stack.id}

    def _update_stack(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        stack = self._find(stacks, given["StackName"])
        submitted = self._submitted(given, stack, where)
        if not self._differs(stack, submitted):
            raise Refused("ValidationError", "No updates are to be performed.", 400)
        self._update(stack, submitted)
        return {"StackId": stack.id}

    def _delete_stack(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        try:
            stack = self._find(stacks, given["StackName"])
        except Refused:
            return {}
        if stack.protected:
            message = (
                f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
            raise Refused("ValidationError", message, 400)
        self._mark(stack, "DELETE_IN_PROGRESS", "User Initiated")
        try:
            self._keep_imported(stack, set())
            for live in _backwards(stack.live):
                self._remove(stack, live, "DeletionPolicy")
        except Failed as failed:
            self._mark(stack, "DELETE_FAILED", str(failed))
            return {}
        stack.outputs, stack.imports = [], set()
        self._mark(stack, "DELETE_COMPLETE")
        return {}

    def _create(self, stack: Stack, submitted: Submitted) -> None:
        self._mark(stack, "CREATE_IN_PROGRESS", "User Initiated")
        try:
            self._apply(stack, submitted)
        except Failed as failed:
            self._mark(stack, "ROLLBACK_IN_PROGRESS", f"{failed}. Rollback requested by user.")
            for live in _backwards(stack.live):
                self._remove(stack, live, "DeletionPolicy", rolling_back=True)
            self._mark(stack, "ROLLBACK_COMPLETE", str(failed))
            return
        self._mark(stack, "CREATE_COMPLETE")

    def _update(self, stack: Stack, submitted: Submitted) -> None:
        before = replace(stack, live=dict(stack.live))
        self._mark(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        replaced: list[Live] = []
        try:
            wanted = self._apply(stack, submitted, replaced)
        except Failed as failed:
            self._mark(stack, "UPDATE_ROLLBACK_IN_PROGRESS", str(failed))
            self._roll_back(stack, before)
            self._mark(stack, "UPDATE_ROLLBACK_COMPLETE", str(failed))
            return
        self._mark(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        gone = [live for live in _backwards(stack.live) if live.logical_id not in wanted]
        for live in [*replaced, *gone]:
            policy = "UpdateReplacePolicy" if live in replaced else "DeletionPolicy"
            self._remove(stack, live, policy)
        self._mark(stack, "UPDATE_COMPLETE")

    def _roll_back(self, stack: Stack, before: Stack) -> None:
        """Everything made since goes, everything changed is changed back."""
        for live in _backwards(stack.live):
            name = live.logical_id
            old = before.live.get(name)
            if old is live or (old and (old.made, old.properties) == (live.made, live.properties)):
                continue
            if old is None or old.made.physical_id != live.made.physical_id:
                self._remove(stack, live, "", rolling_back=True)
            else:
                kind, at = KINDS[live.type], self._place(stack, name)
                kind.update(at, live.made, live.properties, old.properties)
        stack.live = before.live
        stack.template, stack.parameters = before.template, before.parameters
        stack.resolved, stack.imports = before.resolved, before.imports

    # ---------------------------------------------------------------------- applying

    def _apply(
        self, stack: Stack, submitted: Submitted, replaced: list[Live] | None = None
    ) -> set[str]:
        """Make the stack what the template says; the logical ids that it wants.

        What it no longer wants is still there.

        Raises:
            Failed: at the first resource that cannot be made.
        """
        try:
            template = parse(submitted.template)
            imports: set[str] = set()
            stack.resolved = self._parameters(template, submitted.parameters, stack)
            scope = self._scope(stack, template, stack.resolved, imports)
            order = in_order(template["Resources"])
        except TemplateError as wrong:
            raise Failed(stack.name, str(wrong)) from wrong
        wanted = {name for name in order if scope.wanted(template["Resources"][name])}
        for name in order:
            entry = template["Resources"][name]
            if entry["Type"] not in KINDS:
                reason = f"Unrecognized resource types: [{entry['Type']}]"
                self._event(stack, name, entry["Type"], "", "CREATE_FAILED", reason)
                raise Failed(name, reason)
            if name in wanted:
                old = stack.live.get(name)
                self._make(stack, name, entry, scope)
                if old and replaced is not None and self._was_replaced(old, stack.live[name]):
                    replaced.append(old)
        outputs = self._outputs(stack, template, scope)
        self._keep_imported(stack, {o["ExportName"] for o in outputs if "ExportName" in o})
        stack.outputs, stack.imports = outputs, imports
        stack.template, stack.parameters = submitted.template, submitted.parameters
        return wanted

    @staticmethod
    def _was_replaced(old: Live, new: Live) -> bool:
        return old.type != new.type or old.made.physical_id != new.made.physical_id

    def _make(self, stack: Stack, name: str, entry: Mapping[str, Any], scope: Scope) -> None:
        old, kind = stack.live.get(name), KINDS[entry["Type"]]
        verb = "UPDATE" if old else "CREATE"
        at = self._place(stack, name)
        try:
            wanted = scope.resolve(entry.get("Properties", {}))
            kind.check(wanted)
            if old and old.type == entry["Type"] and old.properties == wanted:
                stack.live[name] = replace(old, entry=entry)
                return
            self._event(stack, name, entry["Type"], "", f"{verb}_IN_PROGRESS")
            if not old or old.type != entry["Type"] or kind.replaces(old.properties, wanted):
                made = kind.create(at, wanted)
            else:
                made = kind.update(at, old.made, old.properties, wanted)
        except REFUSALS as why:
            self._event(stack, name, entry["Type"], "", f"{verb}_FAILED", str(why))
            raise Failed(name, str(why)) from why
        stack.live[name] = Live(name, entry["Type"], made, wanted, entry)
        self._event(stack, name, entry["Type"], made.physical_id, f"{verb}_COMPLETE")

    def _remove(self, stack: Stack, live: Live, policy: str, *, rolling_back: bool = False) -> None:
        """Delete a resource unless ``policy`` of its template entry keeps it."""
        name, physical = live.logical_id, live.made.physical_id
        if live.kept(policy, rolling_back=rolling_back):
            self._event(stack, name, live.type, physical, "DELETE_SKIPPED")
        else:
            try:
                at = self._place(stack, name)
                KINDS[live.type].delete(at, live.made, live.properties)
            except REFUSALS as why:
                self._event(stack, name, live.type, physical, "DELETE_FAILED", str(why))
                if rolling_back:
                    return
                raise Failed(name, str(why)) from why
            self._event(stack, name, live.type, physical, "DELETE_COMPLETE")
        if stack.live.get(name) is live:
            del stack.live[name]

    def _place(self, stack: Stack, name: str) -> Place:
        client = self._client_of(stack.account)
        return Place(stack.name, name, stack.account, stack.region, client)

    def _client_of(self, account: str) -> Callable[[str, str], Any]:
        return partial(self._backbone.client, principal=Operator(account))

    # --------------------------------------------------------------- names and values

    def _parameters(
        self, template: Mapping[str, Any], given: Mapping[str, str], stack: Stack
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, declared in template.get("Parameters", {}).items():
            value = given.get(name, declared.get("Default"))
            kind = declared["Type"]
            if kind == "AWS::SSM::Parameter::Value<String>":
                ssm = self._client_of(stack.account)("ssm", stack.region)
                try:
                    value = ssm.get_parameter(Name=value)["Parameter"]["Value"]
                except ClientError as missing:
                    raise TemplateError(f"Unable to fetch parameter {value}") from missing
            elif kind == "CommaDelimitedList":
                value = [item.strip() for item in str(value).split(",")] if value else []
            elif kind not in ("String", "Number"):
                raise TemplateError(f"parameter type {kind}")
            values[name] = value
        return values

    def _scope(
        self,
        stack: Stack,
        template: Mapping[str, Any],
        parameters: Mapping[str, Any],
        imports: set[str],
    ) -> Scope:
        pseudo = {
            "AWS::AccountId": stack.account,
            "AWS::Region": stack.region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack.name,
            "AWS::StackId": stack.id,
            "AWS::NotificationARNs": [],
        }

        def physical(name: str) -> str:
            return live(name).made.physical_id

        def attribute(name: str, wanted: str) -> Any:
            found = live(name)
            if wanted not in found.made.attributes:
                raise TemplateError(f"{found.type} has no attribute {wanted}")
            return found.made.attributes[wanted]

        def live(name: str) -> Live:
            if name not in stack.live:
                raise TemplateError(f"Unresolved resource dependencies [{name}]")
            return stack.live[name]

        def imported(name: str) -> str:
            imports.add(name)
            exports = self._exports(stack.account, stack.region)
            if name not in exports:
                raise TemplateError(f"No export named {name} found.")
            return exports[name][1]

        return Scope(template, {**pseudo, **parameters}, physical, attribute, imported)

    def _exports(self, account: str, region: str) -> dict[str, tuple[Stack, str]]:
        return {
            output["ExportName"]: (stack, output["OutputValue"])
            for stack in self._stacks.get((account, region), [])
            for output in stack.outputs
            if "ExportName" in output
        }

    def _keep_imported(self, stack: Stack, still: set[str]) -> None:
        """Raises Failed when an export that another stack imports would go."""
        for name, (owner, _) in self._exports(stack.account, stack.region).items():
            users = [s.name for s in self._stacks[stack.account, stack.region] if name in s.imports]
            if owner is stack and name not in still and users:
                message = f"Export {name} cannot be deleted as it is in use by {', '.join(users)}"
                raise Failed(stack.name, message)

    @staticmethod
    def _outputs(stack: Stack, template: Mapping[str, Any], scope: Scope) -> list[dict[str, str]]:
        outputs = []
        for name, entry in (template.get("Outputs") or {}).items():
            if not scope.wanted(entry):
                continue
            try:
                output = {"OutputKey": name, "OutputValue": str(scope.resolve(entry["Value"]))}
                if "Export" in entry:
                    output["ExportName"] = str(scope.resolve(entry["Export"]["Name"]))
            except TemplateError as wrong:
                raise Failed(stack.name, f"Output {name}: {wrong}") from wrong
            if "Description" in entry:
                output["Description"] = entry["Description"]
            outputs.append(output)
        return outputs

    # ------------------------------------------------------------------ events, answers

    def _mark(self, stack: Stack, status: str, reason: str | None = None) -> None:
        stack.status, stack.reason = status, reason
        self._event(stack, stack.name, "AWS::CloudFormation::Stack", stack.id, status, reason)

    def _event(
        self,
        stack: Stack,
        name: str,
        type_: str,
        physical: str,
        status: str,
        reason: str | None = None,
    ) -> None:
        event = {
            "StackId": stack.id,
            "EventId": str(uuid.uuid4()),
            "StackName": stack.name,
            "LogicalResourceId": name,
            "PhysicalResourceId": physical,
            "ResourceType": type_,
            "Timestamp": self._backbone.clock.now(),
            "ResourceStatus": status,
        }
        stack.events.append({**event, "ResourceStatusReason": reason} if reason else event)

    @staticmethod
    def _described(stack: Stack) -> Properties:
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "Parameters": _listed(stack.parameters),
            "CreationTime": stack.created,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason,
            "DisableRollback": False,
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            "Outputs": stack.outputs,
            "RoleARN": stack.role,
            "Tags": stack.tags,
            "EnableTerminationProtection": stack.protected,
        }

    def _describe_stacks(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        if "StackName" in given:
            return {"Stacks": [self._described(self._find(stacks, given["StackName"]))]}
        return {"Stacks": [self._described(s) for s in stacks if s.status != "DELETE_COMPLETE"]}

    def _list_stacks(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        wanted = given.get("StackStatusFilter")
        shown = [s for s in stacks if wanted is None or s.status in wanted]
        return {"StackSummaries": [self._described(stack) for stack in shown]}

    def _describe_stack_events(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        return {"StackEvents": self._find(stacks, given["StackName"]).events[::-1]}

    def _get_template(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> Properties:
        return {"TemplateBody": self._find(stacks, given["StackName"]).template}

    def _get_template_summary(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        if "StackName" in given:
            template = parse(self._find(stacks, given["StackName"]).template)
        else:
            body = given.get("TemplateBody") or self._download(given["TemplateURL"], where)
            template = parse(body)
        types = sorted({entry["Type"] for entry in template["Resources"].values()})
        return {"ResourceTypes": types, "Metadata": json.dumps(template.get("Metadata", {}))}

    def _resources(
        self, stacks: list[Stack], given: Properties, _: tuple[str, str]
    ) -> list[Properties]:
        stack = self._find(stacks, given["StackName"])
        return [
            {
                "StackName": stack.name,
                "StackId": stack.id,
                "LogicalResourceId": live.logical_id,
                "PhysicalResourceId": live.made.physical_id,
                "ResourceType": live.type,
                "LastUpdatedTimestamp": stack.created,
                "Timestamp": stack.created,
                "ResourceStatus": "CREATE_COMPLETE",
            }
            for live in stack.live.values()
        ]

    def _list_stack_resources(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        return {"StackResourceSummaries": self._resources(stacks, given, where)}

    def _describe_stack_resources(
        self, stacks: list[Stack], given: Properties, where: tuple[str, str]
    ) -> Properties:
        return {"StackResources": self._resources(stacks, given, where)}

    def _list_exports(self, _: list[Stack], __: Properties, where: tuple[str, str]) -> Properties:
        return {
            "Exports": [
                {"ExportingStackId": stack.id, "Name": name, "Value": value}
                for name, (stack, value) in self._exports(*where).items()
            ]
        }

    def _protect(self, stacks: list[Stack], given: Properties, _: tuple[str, str]) -> Properties:
        stack = self._find(stacks, given["StackName"])
        stack.protected = given["EnableTerminationProtection"]
        return {"StackId": stack.id}

    OPERATIONS: Mapping[
        str, Callable[["Stacks", list[Stack], Properties, tuple[str, str]], Properties]
    ] = {
        "CreateChangeSet": _create_change_set,
        "CreateStack": _create_stack,
        "DeleteChangeSet": _delete_change_set,
        "DeleteStack": _delete_stack,
        "DescribeChangeSet": _describe_change_set,
        "DescribeStackEvents": _describe_stack_events,
        "DescribeStackResources": _describe_stack_resources,
        "DescribeStacks": _describe_stacks,
        "ExecuteChangeSet": _execute_change_set,
        "GetTemplate": _get_template,
        "GetTemplateSummary": _get_template_summary,
        "ListExports": _list_exports,
        "ListStackResources": _list_stack_resources,
        "ListStacks": _list_stacks,
        "UpdateStack": _update_stack,
        "UpdateTerminationProtection": _protect,
    }


def _backwards(live: Mapping[str, Live]) -> list[Live]:
    """Each resource before those that it depends on."""
    return [live[name] for name in reversed(in_order({n: x.entry for n, x in live.items()}))]


def _listed(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
