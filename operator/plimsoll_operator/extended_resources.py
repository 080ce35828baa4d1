"""Extended resources that accelerators are offered as, and the labels that say what they are.

NVIDIA: the device plugin and GPU feature discovery; with the MIG strategy `single` slices are
offered as GPUs of another product, with `mixed` each profile is a resource of its own with labels
of its own (https://github.com/NVIDIA/k8s-device-plugin/tree/main/docs/gpu-feature-discovery). AMD:
https://instinct.docs.amd.com/projects/k8s-device-plugin. Gaudis are labelled with no product
(https://docs.habana.ai/en/latest/Installation_Guide/Additional_Installation/Kubernetes_Installation),
so that ACCELERATOR_LABEL must say it.
"""

GPU = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"
AMD_GPU = "amd.com/gpu"
GAUDI = "habana.ai/gaudi"
ACCELERATOR_LABEL = "plimsoll.dev/accelerator"
"""A person's own word for a node's accelerator, where nothing discovers it."""


def is_accelerator(resource: str) -> bool:
    """Whether a node's resource of that name is accelerators."""
    return resource in (GPU, AMD_GPU, GAUDI) or resource.startswith(MIG_PREFIX)


def product_label(resource: str) -> str:
    """The node label that names the product behind a resource."""
    if resource == GPU or resource.startswith(MIG_PREFIX):
        return f"{resource}.product"
    return "amd.com/gpu.product-name" if resource == AMD_GPU else ACCELERATOR_LABEL


def taint(resource: str) -> str:
    """The taint that keeps other pods off its nodes."""
    return GPU if resource.startswith(MIG_PREFIX) else resource
