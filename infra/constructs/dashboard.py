"""One CloudWatch dashboard, ``lastgood``: whether all is well, and where to look if it is not."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.catalog import BY_NAME, SWEEPER, QueueTrigger, Row
from infra.constructs.restoring import ENDING_LETTERS
from lastgood.domain.measures import NAMESPACE, Measure

NAME = "lastgood"

FIRST = """\
## Lastgood
**Look first** at the alarms: one that is red says in its description what it means and what \
to do. Then, from the left:
1. **Past rpo**: more than 0 means that a source is less protected than agreed, now.
2. **Points**: *available* should follow *planned*, hours later at most. *Failed* ones are named \
in the notices of topic `lastgood-notices`, with their causes.
3. **Dead letters**: more than 0 means that something waits for a person.
4. **Sources left out**: a reason that grows may be a tag that somebody took away.
"""

WIDTH = 24
"""Columns of a dashboard."""

MOST_ALARMS = 100
"""Of one widget (CloudWatch, "Dashboard body structure and syntax")."""


class Dashboard(Construct):
    """Metrics by policy are searched for, so that a policy is shown from its first run on.

    ``alarms``: the first hundred are shown.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alarms: Sequence[cloudwatch.IAlarm],
        rows: Sequence[Row],
    ) -> None:
        super().__init__(scope, construct_id)
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=NAME,
            default_interval=Duration.days(3),
            widgets=[
                [
                    cloudwatch.TextWidget(markdown=FIRST, width=10, height=7),
                    cloudwatch.AlarmStatusWidget(
                        title="Alarms",
                        alarms=list(alarms[:MOST_ALARMS]),
                        width=WIDTH - 10,
                        height=7,
                    ),
                ],
                _row(
                    _graph("Sources past their policy's rpo", _past_rpo()),
                    _graph("Points", _points()),
                    _graph("Points in flight", _in_flight()),
                ),
                _row(
                    _graph("Seconds from slot to available", _seconds()),
                    _graph("Sources left out, by reason", _left_out()),
                    _graph("Mended by sweeps", _mended()),
                ),
                _row(
                    _graph("Points kept and deleted by prunes", _pruned()),
                    _graph("Deletes blocked, by reason", _blocked()),
                    _graph("Points without a policy", _unmanaged()),
                    _graph("Copies, by Region", _copies()),
                ),
                _row(
                    _graph("Restores, by end", _restores()),
                    _graph("Seconds to what was restored", _restore_seconds()),
                    _graph("Requests of chat refused, by reason", _refused()),
                ),
                _row(
                    _graph("Dead letters", _dead_letters(rows)),
                    _graph("Age of the oldest message, in seconds", _ages(rows)),
                    _graph("What failed, by error", _failures()),
                ),
                _row(
                    _graph("Errors of functions", _of_functions(rows, "Errors", "Sum")),
                    _graph("Throttles of functions", _of_functions(rows, "Throttles", "Sum")),
                    _graph(
                        "Duration of functions (ms)", _of_functions(rows, "Duration", "Maximum")
                    ),
                ),
            ],
        )


Lines = Sequence[cloudwatch.IMetric]


def _row(*widgets: cloudwatch.GraphWidget) -> list[cloudwatch.IWidget]:
    return list(widgets)


def _graph(title: str, lines: Lines) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(lines),
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        width=WIDTH // 3,
        height=6,
    )


def _searched(
    measure: Measure,
    statistic: str,
    by: Sequence[str] = ("policy",),
    *,
    label: str,
    summed: bool = False,
) -> cloudwatch.MathExpression:
    """A line for each combination of dimensions that there is, or their sum."""
    schema = ",".join((NAMESPACE, *sorted((*by, "service"))))
    search = f"SEARCH('{{{schema}}} MetricName=\"{measure.value}\"', '{statistic}')"
    return cloudwatch.MathExpression(
        expression=f"SUM({search})" if summed else search,
        using_metrics={},
        label=label,
        period=Duration.minutes(15),
    )


def _measured(measure: Measure, statistic: str, label: str) -> cloudwatch.Metric:
    """What a sweep counts of the whole."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=measure.value,
        dimensions_map={"service": BY_NAME[SWEEPER].physical_name},
        statistic=statistic,
        period=Duration.minutes(15),
        label=label,
    )


def _past_rpo() -> Lines:
    return [_searched(Measure.SOURCES_PAST_RPO, "Maximum", label="${PROP('Dim.policy')}")]


def _points() -> Lines:
    return [
        _searched(measure, "Sum", label=label, summed=True)
        for measure, label in (
            (Measure.POINTS_PLANNED, "planned"),
            (Measure.POINTS_CREATED, "created"),
            (Measure.POINTS_AVAILABLE, "available"),
            (Measure.POINTS_FAILED, "failed"),
        )
    ]


def _in_flight() -> Lines:
    return [
        _measured(Measure.POINTS_IN_FLIGHT, "Maximum", "in flight"),
        _measured(Measure.POINTS_STUCK, "Maximum", "without a worker"),
    ]


def _seconds() -> Lines:
    return [
        _searched(Measure.SECONDS_TO_AVAILABLE, statistic, label=f"{label} ${{PROP('Dim.policy')}}")
        for statistic, label in (("p50", "p50"), ("p95", "p95"), ("Maximum", "max"))
    ]


def _left_out() -> Lines:
    label = "${PROP('Dim.policy')}: ${PROP('Dim.reason')}"
    return [_searched(Measure.SOURCES_LEFT_OUT, "Sum", ("policy", "reason"), label=label)]


def _mended() -> Lines:
    return [
        _searched(Measure.SLOTS_CAUGHT_UP, "Sum", label="slots caught up", summed=True),
        _measured(Measure.POINTS_REBUILT, "Sum", "points rebuilt"),
        _measured(Measure.SURPLUS_REMOVED, "Sum", "surplus snapshots removed"),
    ]


def _pruned() -> Lines:
    return [
        _searched(Measure.POINTS_KEPT, "Sum", label="kept", summed=True),
        _searched(Measure.POINTS_DELETED, "Sum", label="deleted", summed=True),
        _searched(Measure.GIB_DELETED, "Sum", label="GiB of their volumes", summed=True),
        _searched(Measure.PRUNES_STOPPED, "Sum", label="plans stopped", summed=True),
    ]


def _blocked() -> Lines:
    label = "${PROP('Dim.policy')}: ${PROP('Dim.reason')}"
    return [_searched(Measure.DELETES_BLOCKED, "Sum", ("policy", "reason"), label=label)]


def _copies() -> Lines:
    label = "${PROP('Dim.policy')}"
    return [
        _searched(Measure.COPIES_AVAILABLE, "Sum", label=label),
        _searched(Measure.COPIES_FAILED, "Sum", label=f"failed, {label}"),
        _searched(Measure.COPIES_LATE, "Sum", label=f"late, {label}"),
    ]


def _unmanaged() -> Lines:
    return [_searched(Measure.POINTS_UNMANAGED, "Maximum", label="${PROP('Dim.policy')}")]


def _restores() -> Lines:
    label = "${PROP('Dim.mode')}: ${PROP('Dim.end')}"
    return [_searched(Measure.RESTORES, "Sum", ("mode", "end"), label=label)]


def _restore_seconds() -> Lines:
    return [
        _searched(
            Measure.RESTORE_SECONDS, statistic, ("mode",), label=f"{label} ${{PROP('Dim.mode')}}"
        )
        for statistic, label in (("p50", "p50"), ("Maximum", "max"))
    ]


def _refused() -> Lines:
    return [_searched(Measure.CHAT_REFUSED, "Sum", ("reason",), label="${PROP('Dim.reason')}")]


def _failures() -> Lines:
    label = "${PROP('Dim.error')}, ${PROP('Dim.service')}"
    return [
        _searched(Measure.ERRORS, "Sum", ("error",), label=label),
        _searched(Measure.RETRIES, "Sum", ("error",), label=f"again: {label}"),
        _searched(Measure.CHAT_REFUSED, "Sum", ("reason",), label="chat: ${PROP('Dim.reason')}"),
    ]


def _of_queue(name: str, metric: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/SQS",
        metric_name=metric,
        dimensions_map={"QueueName": name},
        statistic="Maximum",
        label=name,
    )


def _dead_letters(rows: Sequence[Row]) -> Lines:
    queues = [f"{row.physical_name}-dead-letters" for row in rows if row.buries]
    return [
        _of_queue(name, "ApproximateNumberOfMessagesVisible") for name in (*queues, ENDING_LETTERS)
    ]


def _ages(rows: Sequence[Row]) -> Lines:
    return [
        _of_queue(row.physical_name, "ApproximateAgeOfOldestMessage")
        for row in rows
        if isinstance(row.trigger, QueueTrigger)
    ]


def _of_functions(rows: Sequence[Row], metric: str, statistic: str) -> Lines:
    return [
        cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name=metric,
            dimensions_map={"FunctionName": row.physical_name},
            statistic=statistic,
            label=row.physical_name,
        )
        for row in rows
    ]
