"""Step Functions, Standard workflows in JSONPath: an interpreter of our own on the cloud's clock.

moto's runs in threads and real time. What is not taught is refused when a machine is made.
"""

from tests.cloud.states.execution import Host, Task, TaskFailed
from tests.cloud.states.machines import StateMachines

__all__ = ["Host", "StateMachines", "Task", "TaskFailed"]
