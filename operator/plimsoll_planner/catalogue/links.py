"""Links as data sheets give them, one way: what they print of NVLink and PCIe is mostly both ways.

PCIe: 16 GT/s a lane and direction in generation 4, twice that in each next one, before encoding.
NVLink: 25 GB/s a link and direction in generations 3 and 4, 50 in 5. Infinity Fabric: 50 GB/s a
link and direction between MI200s, 64 between MI300s, 76.8 between MI350s.
"""

from plimsoll_planner.accelerator import GB, Link, LinkKind

NODE = 8
"""Accelerators in the common node of 8."""
_PCIE_LANE = {3: 1 * GB, 4: 2 * GB, 5: 4 * GB}
_NVLINK = {3: 25 * GB, 4: 25 * GB, 5: 50 * GB}


def pcie(generation: int, lanes: int = 16) -> Link:
    """Through the host; all accelerators of a node are reached."""
    return Link(LinkKind.PCIE, generation, lanes, _PCIE_LANE[generation] * lanes, NODE)


def nvlink(generation: int, links: int, joins: int = NODE) -> Link:
    """Through switches in the node, or a bridge over `joins` cards."""
    return Link(LinkKind.NVLINK, generation, links, _NVLINK[generation] * links, joins)


def infinity_fabric(links: int, each: float, joins: int = NODE) -> Link:
    """A mesh: `links` of `each` bytes/s one way."""
    return Link(LinkKind.XGMI, 0, links, each * links, joins)


def roce(ports: int, gigabits: int, joins: int = NODE) -> Link:
    """`ports` Ethernet ports of `gigabits` Gbit/s that join the node."""
    return Link(LinkKind.ROCE, 2, ports, ports * gigabits * GB / 8, joins)
