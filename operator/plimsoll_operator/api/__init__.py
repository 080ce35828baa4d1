"""Types of the Kubernetes API group plimsoll.dev; the CRD in crds/ is generated from them."""

GROUP = "plimsoll.dev"
VERSION = "v1alpha1"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"
API_VERSION = f"{GROUP}/{VERSION}"
ACCELERATOR_KIND = "Accelerator"
ACCELERATOR_PLURAL = "accelerators"
