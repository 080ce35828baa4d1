"""Kinds of attention: their weights, what they cache of a token and what a product costs.

Sizes: Vaswani et al. (arXiv 1706.03762); grouped queries, Ainslie et al. (2305.13245); sliding
windows, Jiang et al. (2310.06825); latent attention, DeepSeek-V2 (2405.04434, section 2.1); gated
delta rule, Yang et al. (2412.06464).
"""

from dataclasses import dataclass

from plimsoll_planner.models.weights import Matrix, Part


@dataclass(frozen=True)
class Attention:
    """Multi-head, grouped-query or multi-query attention.

    With a `window`, a token attends to that many tokens at most, and no more need be cached. With
    `gated`, a gate as wide as the queries multiplies the output. With `values_are_keys` there is
    no projection of values.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None
    gated: bool = False
    values_are_keys: bool = False

    @property
    def flops_per_pair(self) -> int:
        """FLOP per new token and token it attends to: q·k and the weighted sum of v."""
        return 2 * self.heads * (self.head_dim + self.value_dim)

    @property
    def decode_flops_per_pair(self) -> int:
        """The same where every sequence has one new token."""
        return self.flops_per_pair

    @property
    def state_values(self) -> int:
        """Numbers kept for a sequence whatever its length."""
        return 0

    def cached_values(self, tensor_parallel_size: int = 1) -> int:
        """Numbers cached for a token on one accelerator; one holds at least one KV head."""
        return max(1, self.kv_heads // tensor_parallel_size) * (self.head_dim + self.value_dim)

    def cached_vectors(self, tensor_parallel_size: int = 1) -> int:
        """Keys and values that these are: each has its own scale where the cache is quantized."""
        return 2 * max(1, self.kv_heads // tensor_parallel_size)

    def divides_into(self, size: int) -> bool:
        """Whether each of so many accelerators has as many heads, and KV heads or copies of one."""
        return self.heads % size == 0 and (self.kv_heads % size == 0 or size % self.kv_heads == 0)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        values = 0 if self.values_are_keys else self.kv_heads * self.value_dim
        q_rows = 2 * queries if self.gated else queries
        return (
            Matrix("q", Part.ATTENTION, q_rows, hidden),
            Matrix("k", Part.ATTENTION, keys, hidden, shares=self.kv_heads),
            Matrix("v", Part.ATTENTION, values, hidden, shares=self.kv_heads),
            Matrix("o", Part.ATTENTION, hidden, self.heads * self.value_dim, by_inputs=True),
        )


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention: of a token, one latent of all heads is cached, and one key part
    with its position; every accelerator holds both whole.

    `query_rank` is None where queries are projected directly. Where an index (DeepSeek-V3.2)
    chooses what is attended to, no more than `attended` tokens are; a layer that has the index,
    rather than use that of a layer before, has `index_heads` heads of `index_dim` for it and
    caches its key of every token.
    """

    heads: int
    query_rank: int | None
    latent_rank: int
    position_dim: int
    plain_dim: int
    value_dim: int
    index_heads: int = 0
    index_dim: int = 0
    attended: int | None = None

    @property
    def kv_heads(self) -> int:
        """As many as heads: the latent is expanded to keys and values of each."""
        return self.heads

    @property
    def head_dim(self) -> int:
        """Of a query or key."""
        return self.plain_dim + self.position_dim

    @property
    def window(self) -> None:
        """None: every token stays cached."""
        return

    @property
    def flops_per_pair(self) -> int:
        """FLOP per new token and token it attends to, over expanded keys and values, as in
        prefill."""
        return 2 * self.heads * (self.head_dim + self.value_dim)

    @property
    def decode_flops_per_pair(self) -> int:
        """The same over the latent itself, as in decode: expanding is moved into the queries and
        the output (2405.04434, section 2.1.2)."""
        return 2 * self.heads * (2 * self.latent_rank + self.position_dim)

    @property
    def state_values(self) -> int:
        """None besides the tokens'."""
        return 0

    def cached_values(self, tensor_parallel_size: int = 1) -> int:  # noqa: ARG002 - see class
        """Numbers cached for a token, as many on every accelerator."""
        return self.latent_rank + self.position_dim + self.index_dim

    def cached_vectors(self, tensor_parallel_size: int = 1) -> int:  # noqa: ARG002 - see class
        """The latent, the key part with its position, and the index's key."""
        return 3 if self.index_dim else 2

    def divides_into(self, size: int) -> bool:
        """Whether each of so many accelerators has as many heads."""
        return self.heads % size == 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        rank = self.query_rank
        queries = self.heads * self.head_dim
        expanded = self.heads * (self.plain_dim + self.value_dim)
        down = self.latent_rank + self.position_dim
        found = [
            Matrix("q", Part.ATTENTION, queries, rank or hidden),
            Matrix("kv_a", Part.ATTENTION, down, hidden, shares=1),
            Matrix("kv_b", Part.ATTENTION, expanded, self.latent_rank),
            Matrix("o", Part.ATTENTION, hidden, self.heads * self.value_dim),
        ]
        if rank is not None:
            found.append(Matrix("q_a", Part.ATTENTION, rank, hidden, shares=1))
        if self.index_heads:
            of_index = self.index_heads * self.index_dim
            found += [
                Matrix("index_q", Part.ATTENTION, of_index, rank or hidden, shares=1),
                Matrix("index_k", Part.ATTENTION, self.index_dim, hidden, shares=1),
                Matrix("index_weights", Part.ROUTER, self.index_heads, hidden, shares=1),
            ]
        return tuple(found)


@dataclass(frozen=True)
class LinearAttention:
    """A gated delta rule: a state of fixed size per value head instead of a cache of tokens."""

    key_heads: int
    heads: int
    head_dim: int
    value_dim: int
    convolution: int

    @property
    def kv_heads(self) -> int:
        """Heads of keys."""
        return self.key_heads

    @property
    def window(self) -> None:
        """None: there is no cache of tokens."""
        return

    @property
    def flops_per_pair(self) -> int:
        """None: tokens meet in the state."""
        return 0

    @property
    def decode_flops_per_pair(self) -> int:
        """None either."""
        return 0

    @property
    def state_values(self) -> int:
        """Numbers kept for a sequence: one matrix per value head, and the convolution's tail."""
        return self.heads * self.head_dim * self.value_dim + self._channels * (self.convolution - 1)

    def cached_values(self, tensor_parallel_size: int = 1) -> int:  # noqa: ARG002 - see class
        """None."""
        return 0

    def cached_vectors(self, tensor_parallel_size: int = 1) -> int:  # noqa: ARG002 - see class
        """None."""
        return 0

    def divides_into(self, size: int) -> bool:
        """Whether each of so many accelerators has as many heads of either kind."""
        return self.heads % size == 0 and self.key_heads % size == 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        values = self.heads * self.value_dim
        return (
            Matrix("in", Part.ATTENTION, self._channels + values, hidden),
            Matrix("gates", Part.ATTENTION, 2 * self.heads, hidden),
            Matrix("o", Part.ATTENTION, hidden, values),
            Matrix("convolution", Part.VECTOR, self._channels, self.convolution),
        )

    @property
    def _channels(self) -> int:
        return 2 * self.key_heads * self.head_dim + self.heads * self.value_dim


AnyAttention = Attention | LatentAttention | LinearAttention
