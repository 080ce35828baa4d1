"""`status.memoryReserve`: memory that plans keep beyond the formulas."""

from pydantic import Field

from plimsoll_operator.api.base import ToldModel


class MemoryReserve(ToldModel):
    """What engines ran short of, so that the next plan of this model on this accelerator keeps it
    free; gone where either is another."""

    accelerator: str = Field(description="The product that it was learnt on.")
    model: str = Field(description="The model's source, with @REVISION where it has one.")
    memory: str = Field(description="What plans keep free of one accelerator, such as 512Mi.")
    plan: str = Field(description="Revision of the plan whose pods ran out of memory last.")
    raises: int = Field(description="How often it was raised; no further than 4 times.")
