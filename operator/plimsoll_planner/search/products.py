"""The inventory by product: what one replica may be built from, and how many fit."""

from dataclasses import dataclass, replace

from plimsoll_planner.accelerators import CATALOGUE, CPU, Accelerator, find, same_product
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.performance.memory import usable_bytes
from plimsoll_planner.search.shape import Shape

CPU_BYTES_PER_CORE = 4 * 2**30
"""Memory of a core where an inventory does not say: that of clouds' general-purpose machines."""


@dataclass(frozen=True)
class Product:
    """All nodes with one product, which replicas of one deployment may spread over."""

    label: str
    accelerator: Accelerator
    pools: tuple[AcceleratorPool, ...]

    @property
    def most_per_node(self) -> int:
        """Accelerators (cores) of the largest node."""
        return max(pool.count for pool in self.pools)

    @property
    def nodes(self) -> int:
        """How many there are."""
        return sum(pool.nodes for pool in self.pools)

    @property
    def most_per_replica(self) -> int:
        """How many of them one replica can use on a node."""
        return min(self.most_per_node, self.accelerator.most_in_replica or self.most_per_node)

    @property
    def price_per_hour(self) -> float | None:
        """Of one accelerator on the dearest node; None where a price is missing."""
        prices = [self._price(pool) for pool in self.pools]
        known = [price for price in prices if price is not None]
        return max(known) if known and len(known) == len(prices) else None

    def memory_bytes(self, shape: Shape) -> int:
        """Memory that a rank may use: of the smallest GPU, or of the largest node for `cpu`.

        A `cpu` replica asks for what it needs, so that the largest node decides whether it fits.
        """
        sizes = [self._memory(pool) for pool in self.pools]
        return usable_bytes(shape, max(sizes) if shape.is_cpu else min(sizes))

    def replicas(self, shape: Shape, memory_bytes: int) -> int:
        """How many replicas of `shape`, with `memory_bytes` a rank if on `cpu`, the nodes hold."""
        stages = shape.pipeline_parallel_size
        rooms: list[tuple[int, int]] = []
        for pool in self.pools:
            fit = int(pool.count * stages / shape.accelerators)
            if shape.is_cpu:
                fit = min(fit, self._memory(pool) // max(1, memory_bytes * shape.ranks_in_memory))
            rooms.append((fit, pool.nodes))
        most = sum(fit * nodes for fit, nodes in rooms) // stages
        # A node takes no two stages of one replica.
        while stages > 1 and sum(min(fit, most) * nodes for fit, nodes in rooms) < most * stages:
            most -= 1
        return most

    def occupied(self, shape: Shape) -> float:
        """Accelerators that a replica takes with its share of those left over on a node that is
        full of such replicas; only its own cores on `cpu`, where others find use for the rest."""
        if shape.is_cpu:
            return shape.accelerators
        return shape.pipeline_parallel_size * min(
            pool.count / (pool.count // shape.tensor_parallel_size)
            for pool in self.pools
            if pool.count >= shape.tensor_parallel_size
        )

    def _price(self, pool: AcceleratorPool) -> float | None:
        if pool.price_per_hour is not None:
            return pool.price_per_hour
        spot = self.accelerator.spot_price_per_hour
        return spot if pool.spot and spot is not None else self.accelerator.price_per_hour

    def _memory(self, pool: AcceleratorPool) -> int:
        if pool.memory_bytes is not None:
            return pool.memory_bytes
        if self.accelerator.memory_bytes:
            return self.accelerator.memory_bytes
        return CPU_BYTES_PER_CORE * pool.count


@dataclass(frozen=True)
class Offer:
    """What the inventory offers to a request. `unknown` are labels without figures; `shared` are
    products whose GPUs several pods share, which no replica may use; `foreign` ones that the engine
    does not run on, left out beside GPUs that it does run on unless the request names them."""

    products: tuple[Product, ...]
    shared: tuple[Product, ...]
    foreign: tuple[Product, ...]
    disallowed: tuple[str, ...]
    unknown: tuple[str, ...]


def offer(request: PlanRequest) -> Offer:
    """The products of the inventory that the request may use, in the order of their labels."""
    usable = [pool for pool in request.inventory if pool.count > 0 and pool.nodes > 0]
    products: list[Product] = []
    shared: list[Product] = []
    disallowed: list[str] = []
    unknown: list[str] = []
    known = request.accelerators
    for label in sorted({pool.accelerator for pool in usable}):
        if request.allow and not any(same_product(label, name, known) for name in request.allow):
            disallowed.append(label)
            continue
        accelerator = find(label, known)
        if accelerator is None:
            unknown.append(label)
            continue
        for kind, found in ((False, products), (True, shared)):
            pools = [p for p in usable if p.accelerator == label and p.shared is kind]
            for resource in sorted({p.resource or accelerator.resource for p in pools}):
                alike = tuple(p for p in pools if (p.resource or accelerator.resource) == resource)
                found.append(Product(label, replace(accelerator, resource=resource), alike))
    foreign = [] if request.allow else _foreign(request, products)
    products = [product for product in products if product not in foreign]
    return Offer(tuple(products), tuple(shared), tuple(foreign), tuple(disallowed), tuple(unknown))


def _foreign(request: PlanRequest, products: list[Product]) -> list[Product]:
    engine = request.engine
    if engine is None:
        return []
    found = [item for item in products if not engine.runs_on(item.accelerator.resource)]
    others = [item for item in products if item.accelerator.name != CPU]
    return found if len(found) < len(others) else []


def known_names() -> str:
    """The catalogue's products, for messages."""
    return ", ".join(accelerator.name for accelerator in CATALOGUE)


def price_per_hour(
    label: str,
    inventory: tuple[AcceleratorPool, ...],
    accelerators: tuple[Accelerator, ...] = (),
) -> float | None:
    """What a plan counts for one accelerator of that product; None where a price is missing."""
    found = find(label, accelerators)
    pools = tuple(pool for pool in inventory if pool.accelerator == label and not pool.shared)
    return None if found is None or not pools else Product(label, found, pools).price_per_hour
