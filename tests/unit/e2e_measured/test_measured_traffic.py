"""Traffic that is measured is what is simulated."""

from e2e.measured.probes import tokens_of
from e2e.measured.traffic import TRACES, sendings
from plimsoll_planner.simulation.trace import mean_rate

VOCAB = 2048


def test_lengths_are_divided_and_cut_to_the_context() -> None:
    azure, mooncake = (trace.arrivals(400, 1024) for trace in TRACES)
    assert (azure[0].prompt_tokens, azure[0].output_tokens) == (23, 3)
    assert {each.prefix_block for each in mooncake} == {8}
    for each in (*azure, *mooncake):
        assert each.output_tokens >= 1
        assert each.prompt_tokens + each.output_tokens <= 1024
        assert len(each.prefix_ids) * each.prefix_block >= each.prompt_tokens or not each.prefix_ids
    assert mean_rate(azure) > 1


def test_prompts_share_what_the_trace_shares() -> None:
    arrivals = TRACES[1].arrivals(120, 2048)
    prompts = [each.body["prompt"] for each in sendings(arrivals, VOCAB, "a")]
    shared = 0
    for number, (arrival, prompt) in enumerate(zip(arrivals, prompts, strict=True)):
        assert len(prompt) == arrival.prompt_tokens
        assert set(prompt) <= set(tokens_of(VOCAB))
        before = {
            prefix_id: index
            for index, other in enumerate(arrivals[:number])
            for prefix_id in other.prefix_ids
        }
        for block, prefix_id in enumerate(arrival.prefix_ids):
            begin, end = 8 * block, min(8 * (block + 1), len(prompt))
            if prefix_id in before:
                # Equal ids are equal beginnings, up to and with their block.
                other = prompts[before[prefix_id]]
                common = min(end, len(other))
                assert prompt[:common] == other[:common]
                shared += common - begin
    assert shared > 500


def test_another_seed_gives_other_prompts() -> None:
    arrivals = TRACES[1].arrivals(20, 2048)
    first, again, other = (sendings(arrivals, VOCAB, seed) for seed in "aab")
    assert first == again
    assert all(
        one.body["prompt"][:8] != two.body["prompt"][:8]
        for one, two in zip(first, other, strict=True)
    )
    assert all(each.body["ignore_eos"] and each.body["stream"] for each in first)
