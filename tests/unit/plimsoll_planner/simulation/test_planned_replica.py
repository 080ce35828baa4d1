from plimsoll_planner.inputs import AcceleratorPool, Lengths, Objectives, PlanRequest, Workload
from plimsoll_planner.planner import plan
from plimsoll_planner.search.search import best_bid, search
from plimsoll_planner.simulation.planned import replica_model
from tests.unit.plimsoll_planner import models


def test_a_plan_is_simulated_as_it_was_searched() -> None:
    request = PlanRequest(
        models.LLAMA_31_8B,
        Workload(2, Lengths(500, 1500), Lengths(200, 500)),
        Objectives(1.0, 0.1),
        (AcceleratorPool("NVIDIA-L4", 4, 1),),
        max_context_length=8192,
    )
    found, bid = plan(request).plan, best_bid(search(request))
    assert found is not None
    assert bid is not None
    model = replica_model(found, request.model)
    assert model.step == bid.option.engine.step
    assert model.limits.max_num_seqs == bid.option.engine.max_num_seqs
    assert model.limits.max_num_batched_tokens == bid.option.engine.max_num_batched_tokens
    assert model.limits.num_blocks * model.limits.block_size == found.kv_cache_tokens
    assert model.limits.max_model_len == 8192
