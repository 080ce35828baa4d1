"""The resources of the API group: LLMDeployment, and Accelerator for the whole cluster."""

from plimsoll_operator.api import ACCELERATOR_KIND, ACCELERATOR_PLURAL, KIND, PLURAL
from plimsoll_operator.api.accelerator import AcceleratorSpec, AcceleratorStatus
from plimsoll_operator.api.rules import ACCELERATOR_RULES, RULES
from plimsoll_operator.api.schema import CustomResource
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import LLMDeploymentStatus

LLM_DEPLOYMENT = CustomResource(
    kind=KIND,
    plural=PLURAL,
    short_name="llm",
    scope="Namespaced",
    description="LLMDeployment declares a language model, the traffic it gets and the latency it "
    "promises; Plimsoll sizes it, runs it and scales it.",
    spec=LLMDeploymentSpec,
    status=LLMDeploymentStatus,
    rules=RULES,
    columns=(
        ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        ("Plan", "string", ".status.plan.summary"),
        ("Replicas", "integer", ".status.readyReplicas"),
        ("TTFT", "string", ".status.plan.predicted.timeToFirstToken.p95"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ),
    subresources={
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    },
    categories=("all",),
    name_rules=(
        {
            "rule": "size(self.metadata.name) <= 53",
            "message": "metadata.name must have at most 53 characters, so that the names of pods "
            "fit",
        },
        {
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "message": "metadata.name must be lower case letters, digits and '-', starting with a "
            "letter, since a Service bears it",
        },
    ),
)
ACCELERATOR = CustomResource(
    kind=ACCELERATOR_KIND,
    plural=ACCELERATOR_PLURAL,
    short_name="accel",
    scope="Cluster",
    description="Accelerator says of a product what it costs and what was measured on it, and "
    "describes products that Plimsoll's own catalogue lacks; plans of the whole cluster use it.",
    spec=AcceleratorSpec,
    status=AcceleratorStatus,
    rules=ACCELERATOR_RULES,
    columns=(
        ("Product", "string", ".spec.products[0]"),
        ("Price", "string", ".spec.pricePerHour"),
        ("Spot", "string", ".spec.spotPricePerHour"),
        ("Error", "string", ".spec.calibration.error"),
        ("Accepted", "string", ".status.conditions[?(@.type=='Accepted')].status"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ),
    subresources={"status": {}},
)
DEFINITIONS = (LLM_DEPLOYMENT, ACCELERATOR)
